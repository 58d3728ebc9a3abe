"""`POST /v1/locate`: one photo, one answer, the JSON of `geo query --json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from crossgeo.web.asking import Asker
from crossgeo.web.forms import received
from crossgeo.web.problems import Problem, documented
from crossgeo.web.questions import form_schema, question_of

PHOTO = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP or TIFF"}
ENDS = ("bad-request", "media-type", "validation", "usage", "input", "limit", "too-large", "not-found", "timeout", "busy", "stopping")


def locate_routes(asker: Asker) -> APIRouter:
    """Return the route that answers photos."""
    routes = APIRouter(prefix="/v1", tags=["locate"])

    @routes.post(
        "/locate",
        summary="Find where a photo was taken, and the objects at points of it",
        responses=documented(*ENDS),
        openapi_extra=form_schema({"photo": PHOTO}, ("photo",)),
    )
    async def locate(request: Request) -> Response:
        async with received(request, files=1) as form:
            question, files = question_of(form, ("photo",))
            if len(files.get("photo", [])) != 1:
                raise Problem("validation", "photo: is missing; send one photo as a file of that name")
            (upload,) = files["photo"]
            data, name = await upload.read(), name_of(upload.filename)
        answer, timings = await asker.ask(request, data, name, question)
        return JSONResponse(answer, headers={"Server-Timing": server_timing(timings), "Cache-Control": "no-store"})

    return routes


def name_of(filename: str | None) -> str:
    """Return what a client calls a photo: the last part of its path, without what cannot be printed."""
    last = (filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable())[:200].strip() or "photo"


def server_timing(timings_ms: Mapping[str, Any]) -> str:
    """Return the header that browsers show beside a request (W3C Server Timing)."""
    return ", ".join(f"{name.replace(' ', '_')};dur={took:.1f}" for name, took in timings_ms.items())
