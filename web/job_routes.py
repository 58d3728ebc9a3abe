"""`/v1/jobs`: many photos at once, answered as fast as they can be, with events while that goes on and results in every format."""

from __future__ import annotations

import asyncio
import json
import shutil
import uuid
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.datastructures import UploadFile

from crossgeo import disk
from crossgeo.engine.batch import BatchItem
from crossgeo.engine.output import write_objects, write_records
from crossgeo.engine.sequences import merge_objects
from crossgeo.errors import LimitError, StoreError
from crossgeo.web.asking import Asker
from crossgeo.web.forms import received
from crossgeo.web.job import FINISHED, Asked, Job
from crossgeo.web.jobs import Jobs, now
from crossgeo.web.locate import PHOTO, name_of
from crossgeo.web.problems import Problem, ends, faults
from crossgeo.web.questions import MAX_POINTS, JobQuestion, form_schema, question_of
from crossgeo.web.schemas import answers, ref

Format = Literal["jsonl", "geojson", "csv", "parquet", "gpkg", "kml", "gpx"]
MEDIA_TYPES: dict[Format, str] = {
    "jsonl": "application/x-ndjson", "geojson": "application/geo+json", "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet", "gpkg": "application/geopackage+sqlite3",
    "kml": "application/vnd.google-earth.kml+xml", "gpx": "application/gpx+xml",
}  # fmt: skip
JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="The job, as POST /v1/jobs named it")]
FileFormat = Annotated[Format, Query(alias="format", description="The format of the file")]
_NO_STORE = {"Cache-Control": "no-store"}


class Item(BaseModel):
    """What is known of one photo of a job alone; it wins over what is asked of all."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    photo: str = Field(max_length=500, description="The name under which the photo was sent")
    points: list[tuple[float, float]] = Field(default_factory=list, max_length=MAX_POINTS)
    heading_deg: float | None = Field(None, ge=-360, le=360)
    fov_deg: float | None = Field(None, ge=1, le=360)
    height_m: float | None = Field(None, ge=0.3, le=10_000)
    tilt_deg: float | None = Field(None, ge=0, le=90)
    kind: Literal["drone", "street"] | None = None
    near: tuple[Annotated[float, Field(ge=-90, le=90)], Annotated[float, Field(ge=-180, le=180)]] | None = None
    radius_m: float | None = Field(None, ge=0.1, le=2e7)
    id: str | None = Field(None, max_length=200)
    group: str | None = Field(None, max_length=200)
    taken: str | None = Field(None, max_length=50)


_ITEMS = TypeAdapter(list[Item])
_ITEMS_FIELD = {"type": "string", "contentMediaType": "application/json", "description": "What is known of photos alone: a list of objects"}


def job_routes(asker: Asker, jobs: Jobs) -> APIRouter:
    """Return the routes of jobs."""
    routes = APIRouter(prefix="/v1/jobs", tags=["jobs"])
    limits = asker.limits

    @routes.post(
        "",
        status_code=202,
        summary="Have many photos answered",
        responses={
            **answers(202, "The job, which waits for its turn", ref("Job")),
            **ends("media-type", "validation", "usage", "limit", "too-large", "not-found", "storage"),
        },
        openapi_extra=form_schema(
            JobQuestion, {"photo": {"type": "array", "items": PHOTO, "minItems": 1}, "items": _ITEMS_FIELD}, ("photo",)
        ),
    )
    async def start(request: Request) -> Response:
        jobs.check_room(limits.jobs_waiting)
        async with received(request, limits.job_photos) as form:
            told = form.get("items")
            if told is not None and not isinstance(told, str):
                raise Problem("validation", "items: is a file; send it as a field")
            question, files = question_of(form, JobQuestion, ("photo",), ("items",))
            if question.point:
                raise Problem("validation", "point: is of one photo; give points in items, for each photo its own")
            served, options = asker.indexes.named(question.index), question.options()
            uploads = files.get("photo", [])
            if not uploads:
                raise Problem("validation", "photo: is missing; send each photo as a file of that name")
            folder = jobs.new_folder()
            try:
                items = _items(uploads, told, folder)
                await asyncio.to_thread(_keep, uploads, items)
                job = jobs.add(folder, Asked(uuid.uuid4().hex, served.name, now(), options, items, question.drives()))
            except (LimitError, StoreError, OSError) as error:
                raise Problem("storage", str(error), retry_after_s=600) from error
            finally:
                shutil.rmtree(folder, ignore_errors=True)  # it has another name by now where all went well
        return JSONResponse(job.to_json(), 202, {**_NO_STORE, "Location": f"/v1/jobs/{job.asked.id}"})

    @routes.get("", summary="The jobs that are kept, the newest first", responses={**answers(200, "Jobs", ref("Jobs")), **ends()})
    async def every() -> Response:
        return JSONResponse({"jobs": [job.to_json() for job in jobs.every()]}, headers=_NO_STORE)

    known = ends("not-found", "validation")

    @routes.get("/{job_id}", summary="How far a job is", responses={**answers(200, "The job", ref("Job")), **known})
    async def one(job_id: JobId) -> Response:
        return JSONResponse(jobs.named(job_id).to_json(), headers=_NO_STORE)

    @routes.delete(
        "/{job_id}",
        summary="Cancel a job, or forget a finished one",
        responses={
            **answers(200, "The job, cancelled; what was answered stays until it is deleted again", ref("Job")),
            204: {"description": "The job was finished, and is forgotten"},
            **known,
        },
    )
    async def cancel(job_id: JobId) -> Response:
        job = jobs.named(job_id)
        if job.state in FINISHED:
            jobs.remove(job)
            return Response(status_code=204)
        jobs.cancel(job)
        return JSONResponse(job.to_json(), headers=_NO_STORE)

    @routes.get(
        "/{job_id}/events",
        summary="What happens in a job, as server-sent events",
        description="`record` {number, record} for each answer, `progress` now and then, `end` {state, why}; the id counts records.",
        responses={**answers(200, "Events until the job is finished", ref("Event"), "text/event-stream"), **known},
        response_class=StreamingResponse,
    )
    async def events(
        job_id: JobId,
        last_event_id: Annotated[str | None, Header(pattern="^[0-9]{1,9}$", description="Records that the client has")] = None,
    ) -> Response:
        stream = jobs.events(jobs.named(job_id), int(last_event_id or 0))
        return StreamingResponse(stream, media_type="text/event-stream", headers={**_NO_STORE, "X-Accel-Buffering": "no"})

    file = {
        200: {"description": "The file", "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()}},
        **ends("not-found", "validation", "usage", "input", "conflict", "storage"),
    }

    @routes.get("/{job_id}/results", summary="A finished job's answers, as a file", responses=file, response_class=FileResponse)
    async def results(job_id: JobId, form: FileFormat = "geojson") -> Response:
        return await _file(jobs.named(job_id), "results", form)

    @routes.get(
        "/{job_id}/objects",
        summary="The objects that a finished job's answers show, each once, as a file",
        responses=file,
        response_class=FileResponse,
    )
    async def objects(job_id: JobId, form: FileFormat = "geojson") -> Response:
        return await _file(jobs.named(job_id), "objects", form)

    return routes


def _items(uploads: list[UploadFile], told: str | None, folder: FilePath) -> tuple[BatchItem, ...]:
    """Return the photos of a job; raise Problem where what is said of them does not fit them."""
    known = _known(told)
    out = []
    for number, upload in enumerate(uploads):
        name, path = path_of(upload.filename), folder / "photos" / f"{number:06}"
        own = known.pop(name, None)
        out.append(BatchItem(path, name) if own is None else BatchItem(path, name, **own))
    if known:
        raise Problem("validation", f"items: no photo was sent as {', '.join(sorted(known)[:3])}; name photos as they are sent")
    if len({item.name for item in out}) < len(out):
        raise Problem("validation", "photo: two photos have one name; give each its own")
    return tuple(out)


def _known(told: str | None) -> dict[str, dict[str, Any]]:
    if not told:
        return {}
    try:
        items = _ITEMS.validate_python(json.loads(told))
    except ValidationError as error:
        raise Problem("validation", "items: " + faults(error.errors(include_url=False))) from error
    except (ValueError, RecursionError) as error:
        raise Problem("validation", "items: is not JSON; give a list of objects") from error
    out = {}
    for item in items:
        name = path_of(item.photo)
        if name in out:
            raise Problem("validation", f"items: says something of {name} twice")
        out[name] = {**item.model_dump(exclude={"photo", "points"}), "points": tuple(item.points)}
    return out


def path_of(filename: str | None) -> str:
    """Return what a client calls a photo of a job: its path below a folder, with slashes."""
    parts = [name_of(part) for part in (filename or "").replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(parts[-8:]) or "photo"


def _keep(uploads: list[UploadFile], items: tuple[BatchItem, ...]) -> None:
    """Write the photos of a job into its folder."""
    for upload, item in zip(uploads, items, strict=True):
        with disk.guarded(item.path), item.path.open("wb") as file:
            shutil.copyfileobj(upload.file, file, 1 << 20)


async def _file(job: Job, what: Literal["results", "objects"], form: Format) -> FileResponse:
    """Send a file of a finished job, which is written when it is asked for first."""
    if job.state not in FINISHED:
        raise Problem("conflict", f"the job is {job.state}; its events tell when it is finished")
    path = job.folder / f"{what}.{form}"

    def write() -> None:
        if path.exists():
            return
        if what == "results":
            write_records(path, job.in_order())
        else:
            write_objects(path, merge_objects(list(job.in_order())))

    try:
        await asyncio.to_thread(write)
    except (LimitError, OSError) as error:
        raise Problem("storage", str(error), retry_after_s=600) from error
    name = f"job-{job.asked.id[:8]}{'' if what == 'results' else '-objects'}.{form}"
    return FileResponse(path, media_type=MEDIA_TYPES[form], filename=name, headers=_NO_STORE)
