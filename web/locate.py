"""`POST /v1/locate`: one photo, one answer, the JSON of `geo query --json`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from crossgeo.web.asking import Asker, left
from crossgeo.web.forms import received
from crossgeo.web.problems import Problem, ends
from crossgeo.web.questions import form_schema, question_of
from crossgeo.web.rates import Rates
from crossgeo.web.schemas import answers, ref

PHOTO = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP or TIFF"}


def locate_routes(asker: Asker, rates: Rates) -> APIRouter:
    """Return the route that answers photos."""
    routes = APIRouter(prefix="/v1", tags=["locate"])

    @routes.post(
        "/locate",
        summary="Find where a photo was taken, and the objects at points of it",
        responses={
            **answers(200, "What `geo query --json` prints", ref("Answer")),
            **ends(
                "media-type",
                "validation",
                "usage",
                "input",
                "limit",
                "too-large",
                "not-found",
                "store",
                "weights",
                "mismatch",
                "engine",
                "slow",
            ),
        },
        openapi_extra=form_schema({"photo": PHOTO}, ("photo",)),
    )
    async def locate(request: Request) -> Response:
        with rates.asking(request.state.client):
            asker.check_room()
            async with received(request, files=1) as form:
                question, files = question_of(form, ("photo",))
                served, options, points = asker.indexes.named(question.index), question.options(), question.points()
                if len(files.get("photo", [])) != 1:
                    raise Problem("validation", "photo: is missing; send one photo as a file of that name")
                (upload,) = files["photo"]
                photo = await asker.photo(upload.file, name_of(upload.filename))
            if await request.is_disconnected():
                raise ClientDisconnect
            for point in points:
                photo.check_point(point)
            answer = await asker.answer(served, photo, points, options, partial(left, request))
        headers = {"Server-Timing": server_timing(answer.timings_ms), "Cache-Control": "no-store"}
        return JSONResponse(answer.to_json(), headers=headers)

    return routes


def name_of(filename: str | None) -> str:
    """Return what a client calls a photo: the last part of its path, without what cannot be printed."""
    last = (filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable())[:200].strip() or "photo"


def server_timing(timings_ms: Mapping[str, Any]) -> str:
    """Return the header that browsers show beside a request (W3C Server Timing)."""
    return ", ".join(f"{name.replace(' ', '_')};dur={took:.1f}" for name, took in timings_ms.items())
