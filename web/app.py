"""The application: routes over the indexes that are served, and what stands around every request."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from crossgeo import __version__
from crossgeo.web import problems
from crossgeo.web.asking import Asker
from crossgeo.web.locate import locate_routes
from crossgeo.web.map_routes import map_routes
from crossgeo.web.served import Indexes
from crossgeo.web.settings import Settings

STATIC = Path(__file__).parent / "static"


def make_app(indexes: Indexes, settings: Settings) -> FastAPI:
    """Return the application over open indexes, which stay the caller's to close."""
    app = FastAPI(title="crossgeo", version=__version__, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    problems.install(app)
    app.include_router(locate_routes(Asker(indexes, settings.limits)))
    app.include_router(map_routes(indexes))

    @app.get("/livez", tags=["health"], summary="Whether the process answers")
    async def live() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC, check_dir=False), name="static")
    return app
