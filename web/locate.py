"""One photo, one answer: `POST /v1/locate` gives the JSON of `geo query --json`, `POST /v1/explain` the page of `geo query --explain`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.requests import ClientDisconnect

from crossgeo.engine.photo import Photo
from crossgeo.engine.search import GeoSearch
from crossgeo.web.asking import Asker, left
from crossgeo.web.forms import received
from crossgeo.web.problems import Problem, ends
from crossgeo.web.questions import Question, form_schema, question_of
from crossgeo.web.rates import Rates
from crossgeo.web.schemas import answers, ref

FAULTS = ("store", "weights", "mismatch", "engine", "slow")
PROBLEMS = ("media-type", "validation", "usage", "input", "limit", "too-large", "not-found", *FAULTS)
PHOTO = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP or TIFF"}
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def locate_routes(asker: Asker, rates: Rates) -> APIRouter:
    """Return the routes that answer photos."""
    routes = APIRouter(prefix="/v1", tags=["locate"])
    form = form_schema(Question, {"photo": PHOTO}, ("photo",))

    @routes.post(
        "/locate",
        summary="Find where a photo was taken, and the objects at points of it",
        responses={**answers(200, "What `geo query --json` prints", ref("Answer")), **ends(*PROBLEMS)},
        openapi_extra=form,
    )
    async def locate(request: Request) -> Response:
        with rates.asking(request.state.client):
            question, photo = await _asked(asker, request)
            served = asker.indexes.named(question.index)
            answer = await asker.answer(served, photo, question.points(), question.options(), partial(left, request))
        headers = {"Server-Timing": server_timing(answer.timings_ms), "Cache-Control": "no-store"}
        return JSONResponse(answer.to_json(), headers=headers)

    @routes.post(
        "/explain",
        summary="Find where a photo was taken, and show how that came about",
        responses={**answers(200, "A page that needs no other file", {"type": "string"}, "text/html"), **ends(*PROBLEMS)},
        response_class=HTMLResponse,
        openapi_extra=form,
    )
    async def explain(request: Request) -> Response:
        with rates.asking(request.state.client):
            question, photo = await _asked(asker, request)
            if len(question.point) > 1:
                raise Problem("validation", "point: is given twice; a page explains one")
            points, options, served = question.points(), question.options(), asker.indexes.named(question.index)

            def told(search: GeoSearch) -> str:
                from crossgeo.engine.explain import explain, page

                return page(explain(search, photo, points[0] if points else None, options))

            html = await asker.run(served, photo, told, partial(left, request))
        return HTMLResponse(html, headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"})

    return routes


async def _asked(asker: Asker, request: Request) -> tuple[Question, Photo]:
    """Return what a form asks, checked, and its photo, decoded; raise Problem, or what is wrong with it, before anything is asked."""
    asker.check_room()
    async with received(request, files=1) as form:
        question, files = question_of(form, Question, ("photo",))
        asker.indexes.named(question.index)
        question.options()
        if len(files.get("photo", [])) != 1:
            raise Problem("validation", "photo: is missing; send one photo as a file of that name")
        (upload,) = files["photo"]
        photo = await asker.photo(upload.file, name_of(upload.filename))
    if await request.is_disconnected():
        raise ClientDisconnect
    for point in question.points():
        photo.check_point(point)
    return question, photo


def name_of(filename: str | None) -> str:
    """Return what a client calls a photo: the last part of its path, without what cannot be printed."""
    last = (filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable())[:200].strip() or "photo"


def server_timing(timings_ms: Mapping[str, Any]) -> str:
    """Return the header that browsers show beside a request (W3C Server Timing)."""
    return ", ".join(f"{name.replace(' ', '_')};dur={took:.1f}" for name, took in timings_ms.items())
