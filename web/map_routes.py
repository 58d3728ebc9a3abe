"""What the map page reads: the indexes, their outlines and their imagery as map tiles."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from crossgeo.web.coverage import coverage, summary
from crossgeo.web.mercator import MAX_ZOOM, MapTile
from crossgeo.web.problems import Problem, ends
from crossgeo.web.schemas import answers, ref
from crossgeo.web.served import Indexes, Served
from crossgeo.web.tiles import MEDIA_TYPES, Format, draw, encode, etag_of

TILES_BYTES = 64 << 20
DRAWERS = 2  # tiles drawn at once: questions need the processors, too
_FOR_EVER, _ASK_AGAIN = "private, max-age=31536000, immutable", "private, no-cache"
Name = Annotated[str | None, Query(max_length=200, description="Name of the index; the first one where it is not given.")]


class DrawnTiles:
    """The tiles that were drawn last, by their entity tags, up to a number of bytes; b"" shows nothing."""

    def __init__(self, limit_bytes: int = TILES_BYTES) -> None:
        self._limit_bytes, self._bytes, self._lock = limit_bytes, 0, Lock()
        self._tiles: OrderedDict[str, bytes] = OrderedDict()

    def get(self, etag: str) -> bytes | None:
        """Return a tile's file; None where it is not kept."""
        with self._lock:
            if etag in self._tiles:
                self._tiles.move_to_end(etag)
            return self._tiles.get(etag)

    def keep(self, etag: str, data: bytes) -> None:
        """Keep a tile's file, and drop those asked for longest ago where there are too many."""
        with self._lock:
            self._bytes += _size_bytes(data) - (_size_bytes(self._tiles[etag]) if etag in self._tiles else 0)
            self._tiles[etag] = data
            while self._bytes > self._limit_bytes:
                self._bytes -= _size_bytes(self._tiles.popitem(last=False)[1])


def _size_bytes(data: bytes) -> int:
    return len(data) + 200


def map_routes(indexes: Indexes) -> APIRouter:
    """Return the routes of the map over the indexes that are served."""
    routes = APIRouter(prefix="/v1", tags=["map"])
    drawn, limiter = DrawnTiles(), anyio.CapacityLimiter(DRAWERS)
    unknown = ends("not-found", "validation")

    @routes.get("/indexes", summary="The indexes that are served", responses={**answers(200, "Indexes", ref("Indexes")), **ends()})
    async def list_indexes() -> JSONResponse:
        def all_of_them() -> list[dict[str, Any]]:
            return [_summary(served) for served in indexes]

        return JSONResponse({"indexes": await anyio.to_thread.run_sync(all_of_them)}, headers={"Cache-Control": _ASK_AGAIN})

    @routes.get(
        "/coverage",
        summary="The ground of an index, as GeoJSON",
        responses={**answers(200, "A FeatureCollection", ref("Coverage"), "application/geo+json"), **unknown},
        response_class=_GeoJson,
    )
    async def outline(index: Name = None) -> Response:
        return _GeoJson(await anyio.to_thread.run_sync(_coverage, indexes.named(index)), headers={"Cache-Control": _ASK_AGAIN})

    @routes.get(
        "/tiles/{z}/{x}/{y}.{form}",
        summary="A map tile of the imagery",
        response_class=Response,
        responses={
            200: {"description": "The tile, 256 x 256 px", "content": {kind: {} for kind in MEDIA_TYPES.values()}},
            204: {"description": "The index shows nothing there"},
            304: {"description": "The tile is the one that the client has"},
            **unknown,
        },
    )
    async def tile(
        request: Request,
        z: Annotated[int, Path(ge=0, le=MAX_ZOOM, description="Zoom")],
        x: Annotated[int, Path(ge=0, lt=2**MAX_ZOOM, description="Column, from 180 degrees west")],
        y: Annotated[int, Path(ge=0, lt=2**MAX_ZOOM, description="Row, from the north")],
        form: Format,
        index: Name = None,
        v: Annotated[str | None, Query(max_length=64, description="How the index's hash begins: then the tile is kept.")] = None,
    ) -> Response:
        place, served = MapTile(z, x, y), indexes.named(index)
        if not place.exists:
            raise Problem("not-found", f"zoom {z} has {2**z} tiles each way, and none at {x}, {y}")
        etag, digest, data = await anyio.to_thread.run_sync(
            _drawn, served, place, form, drawn, request.headers.get("if-none-match"), limiter=limiter
        )
        known = v is not None and len(v) >= 8 and digest.startswith(v)
        headers = {"ETag": etag, "Cache-Control": _FOR_EVER if known else _ASK_AGAIN}
        if data is None:
            return Response(status_code=304, headers=headers)
        if not data:
            return Response(status_code=204, headers=headers)
        return Response(data, headers=headers, media_type=MEDIA_TYPES[form])

    return routes


class _GeoJson(JSONResponse):
    media_type = "application/geo+json"


def _summary(served: Served) -> dict[str, Any]:
    with served.pinned() as (search, _):
        return summary(served.name, search)


def _coverage(served: Served) -> dict[str, Any]:
    with served.pinned() as (search, _):
        return coverage(served.name, search)


def _drawn(served: Served, place: MapTile, form: Format, kept: DrawnTiles, known: str | None) -> tuple[str, str, bytes | None]:
    """Return a tile's entity tag, its index's hash and its file; no file where the client knows the tag, b"" where nothing shows."""
    with served.pinned() as (search, small):
        digest = search.index.manifest.hash
        etag = etag_of(digest, place, form)
        if known is not None and etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
            return etag, digest, None
        data = kept.get(etag)
        if data is None:
            shown = draw(search.index, place, small)
            data = b"" if shown is None else encode(*shown, form)
            kept.keep(etag, data)
        return etag, digest, data
