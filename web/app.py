"""The application: routes over the indexes that are served, and what stands around every request."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from crossgeo import __version__
from crossgeo.web import problems, schemas
from crossgeo.web.around import Around
from crossgeo.web.asking import Asker
from crossgeo.web.job_routes import job_routes
from crossgeo.web.jobs import Jobs
from crossgeo.web.keys import Keys
from crossgeo.web.locate import locate_routes
from crossgeo.web.map_routes import map_routes
from crossgeo.web.metrics import MEDIA_TYPE, Metrics
from crossgeo.web.problems import Problem, documented, ends
from crossgeo.web.rates import Rates
from crossgeo.web.receiving import Receiving
from crossgeo.web.schemas import answers, ref
from crossgeo.web.served import Indexes
from crossgeo.web.settings import Settings

STATIC = Path(__file__).parent / "static"
_NO_STORE = {"Cache-Control": "no-store"}


class Application(FastAPI):
    """The application, which can be told that it will be stopped."""

    stopping = False
    jobs: Jobs

    def stop(self) -> None:
        """Be ready no more, end the streams of events and ask no more photos of jobs; what is asked already is answered."""
        self.stopping = True
        self.jobs.stop()


def make_app(indexes: Indexes, settings: Settings, keys: Keys | None = None) -> Application:
    """Return the application over open indexes, which stay the caller's to close."""
    limits, metrics = settings.limits, Metrics()
    asker, rates = Asker(indexes, limits, metrics), Rates(limits.rate_per_minute, limits.waiting_of_client)
    jobs = Jobs(settings.jobs, asker, settings.job_days)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        with asker:
            jobs.start()
            yield
            jobs.stop()
            await jobs.stopped()

    app = Application(
        title="crossgeo",
        summary="Where a photo was taken, in your own imagery",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    app.jobs = jobs
    metrics.read_from(asker.readings)
    problems.install(app)
    app.include_router(locate_routes(asker, rates))
    app.include_router(job_routes(asker, jobs))
    app.include_router(map_routes(indexes))
    _add_health(app, indexes, metrics)
    for own, kind in ((".js", "text/javascript"), (".mjs", "text/javascript"), (".svg", "image/svg+xml")):
        mimetypes.add_type(kind, own)  # whatever the machine thinks of them
    app.mount("/static", StaticFiles(directory=STATIC, check_dir=False), name="static")
    app.add_middleware(Receiving, limits=limits)
    app.add_middleware(Around, keys=keys or Keys(), rates=rates, hosts=settings.hosts, metrics=metrics)
    schemas.describe(app)
    return app


def _add_health(app: Application, indexes: Indexes, metrics: Metrics) -> None:
    health = answers(200, "It does", ref("Health"))

    @app.get(
        "/livez", tags=["health"], summary="Whether the process answers", responses={**health, **documented("bad-request", "internal")}
    )
    async def live() -> Response:
        return JSONResponse({"status": "ok"}, headers=_NO_STORE)

    @app.get(
        "/readyz",
        tags=["health"],
        summary="Whether questions are answered",
        responses={**health, **documented("bad-request", "internal", "stopping", "cluster")},
    )
    async def ready() -> Response:
        if app.stopping:
            raise Problem("stopping", "the service is being stopped; ask another one", retry_after_s=5)
        stats = {served.name: served.live.stats() for served in indexes}
        told: dict[str, dict[str, Any]] = {name: {"generation": own.generation, "trouble": own.trouble} for name, own in stats.items()}
        for served in indexes:
            if shards := served.shards():
                told[served.name]["shards"] = {key: shards[key] for key in ("shards", "shards_alive", "replicas", "replicas_alive")}
                if not shards["shards_answering"]:  # late ones answer, too: with much to do all may be
                    raise Problem("cluster", f"none of the processes that hold {served.name} answers; ask again later", retry_after_s=5)
        return JSONResponse({"status": "ok", "indexes": told}, headers=_NO_STORE)

    @app.get(
        "/metrics",
        tags=["health"],
        summary="Counts and gauges for Prometheus",
        responses={**answers(200, "Prometheus text", {"type": "string"}, "text/plain"), **ends()},
        response_class=Response,
    )
    async def read() -> Response:
        return Response(metrics.text(), headers={**_NO_STORE, "Content-Type": MEDIA_TYPE})

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return Response(status_code=204)
