"""What goes wrong, as RFC 9457 problem JSON with stable codes: one table for our errors and for the service's own (docs/service.md)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from crossgeo import errors

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger("crossgeo.web")


@dataclass(frozen=True)
class Kind:
    """One kind of problem: its HTTP status, and a title that never changes."""

    status: int
    title: str


KINDS: Mapping[str, Kind] = {
    "usage": Kind(422, "The question does not fit together"),
    "validation": Kind(422, "A field is missing, unknown or out of range"),
    "input": Kind(422, "The photo cannot be read"),
    "limit": Kind(413, "The photo passes a limit"),
    "not-located": Kind(422, "No place was found"),
    "bad-request": Kind(400, "The request is no HTTP that we read"),
    "unauthorized": Kind(401, "A key is needed"),
    "forbidden": Kind(403, "This key may not do that"),
    "cross-origin": Kind(403, "Other sites may not ask"),
    "not-found": Kind(404, "There is no such thing here"),
    "method-not-allowed": Kind(405, "This address does not take that method"),
    "timeout": Kind(408, "The request arrived too slowly"),
    "conflict": Kind(409, "That cannot be done in this state"),
    "locked": Kind(409, "Another process is writing"),
    "too-large": Kind(413, "The request is too large"),
    "media-type": Kind(415, "The request is of another media type"),
    "misdirected": Kind(421, "The request is for another host"),
    "too-many-requests": Kind(429, "Too many requests from one client"),
    "headers-too-large": Kind(431, "The headers are too large"),
    "storage": Kind(507, "There is no room on the disk"),
    "internal": Kind(500, "The service has a bug"),
    "busy": Kind(503, "Too many questions are waiting"),
    "slow": Kind(503, "The answer took too long"),
    "stopping": Kind(503, "The service is being stopped"),
    "store": Kind(503, "The index is damaged"),
    "weights": Kind(503, "The weights are missing or damaged"),
    "mismatch": Kind(503, "Index, weights and program do not go together"),
    "engine": Kind(503, "The model cannot be run"),
    "cluster": Kind(503, "The cluster cannot answer"),
}

OF_ERROR: Mapping[type[errors.GeoError], str] = {
    errors.UsageError: "usage",
    errors.InputError: "input",
    errors.LimitError: "limit",
    errors.NotLocatedError: "not-located",
    errors.LockedError: "locked",
    errors.StoreError: "store",
    errors.WeightsError: "weights",
    errors.MismatchError: "mismatch",
    errors.EngineError: "engine",
    errors.ClusterError: "cluster",
    errors.PartialError: "internal",
}

_OF_STATUS = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "media-type"}


class Problem(Exception):
    """Ends a request with a problem of the table; `detail` says what happened, to what, and what to do."""

    def __init__(self, code: str, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.retry_after_s = code, detail, retry_after_s


def code_of(error: errors.GeoError) -> str:
    """Return the code of one of our errors."""
    return next((OF_ERROR[kind] for kind in type(error).__mro__ if kind in OF_ERROR), "internal")


def body_of(code: str, detail: str, request_id: str | None) -> dict[str, Any]:
    """Return the JSON of a problem."""
    kind = KINDS[code]
    out = {"type": f"urn:crossgeo:problem:{code}", "title": kind.title, "status": kind.status, "code": code, "detail": detail}
    return out if request_id is None else {**out, "request_id": request_id}


def response(problem: Problem, request_id: str | None, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem as a response."""
    more = dict(headers or {})
    if problem.retry_after_s is not None:
        more["Retry-After"] = str(max(1, round(problem.retry_after_s)))
    if problem.code == "unauthorized":
        more["WWW-Authenticate"] = 'Bearer realm="crossgeo"'
    body = body_of(problem.code, problem.detail, request_id)
    return JSONResponse(body, KINDS[problem.code].status, more, media_type=MEDIA_TYPE)


_ANYWHERE = (
    "bad-request", "unauthorized", "forbidden", "cross-origin", "timeout", "misdirected", "too-many-requests", "headers-too-large",
    "internal", "busy", "stopping",
)  # fmt: skip


def ends(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` for the problems that any address may end in, and for those of one route."""
    return documented(*_ANYWHERE, *codes)


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` for the problems that a route may end in, by status."""
    by_status: dict[int | str, list[str]] = {}
    for code in codes:
        by_status.setdefault(KINDS[code].status, []).append(code)
    return {
        status: {
            "description": "; ".join(f"`{code}`: {KINDS[code].title}" for code in own),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            **({"headers": _RETRY} if status in (429, 503) else {}),
        }
        for status, own in by_status.items()
    }


_RETRY = {"Retry-After": {"description": "Seconds to wait before asking again", "schema": {"type": "string"}}}
SCHEMA = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "description": "urn:crossgeo:problem:CODE"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": sorted(KINDS)},
        "detail": {"type": "string", "description": "What happened, to what, and what to do"},
        "request_id": {"type": "string"},
    },
}


def install(app: FastAPI) -> None:
    """Have every error of a route answered as a problem."""

    async def own(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return response(error, _id_of(request))

    async def geo(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.GeoError)
        problem = Problem(code_of(error), str(error))
        if KINDS[problem.code].status >= 500:
            _LOG.error("%s: %s", _id_of(request), error)
        return response(problem, _id_of(request))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return response(Problem("validation", faults(error.errors())), _id_of(request))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _OF_STATUS.get(error.status_code, "internal" if error.status_code >= 500 else "bad-request")
        detail = f"{request.method} {request.url.path}: {error.detail}"
        return response(Problem(code, detail), _id_of(request), error.headers)

    async def left(_request: Request, _error: Exception) -> Response:
        return Response(status_code=400)  # nobody is there to read it

    app.add_exception_handler(Problem, own)
    app.add_exception_handler(errors.GeoError, geo)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ClientDisconnect, left)


def faults(found: Any) -> str:
    """Return what pydantic found wrong, a part for each field."""
    return "; ".join(f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}" for fault in found)


def _id_of(request: Request) -> str | None:
    known = request.scope.get("state", {}).get("request_id")
    return None if known is None else str(known)
