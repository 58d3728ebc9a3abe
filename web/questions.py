"""What can be asked of a photo over HTTP: the fields of a multipart form, and how they become the engine's options."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile

from crossgeo.engine.question import BatchOptions
from crossgeo.engine.sequences import SequenceOptions
from crossgeo.errors import UsageError
from crossgeo.indexer.filters import Filters
from crossgeo.web.problems import Problem, faults

NUMBER = r"-?[0-9]{1,9}(\.[0-9]{1,12})?"
PAIR = rf"^{NUMBER},{NUMBER}$"
FOUR = rf"^{NUMBER},{NUMBER},{NUMBER},{NUMBER}$"
MAX_POINTS = 64


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Question(BaseModel):
    """The fields beside the photo; angles in degrees, lengths in metres, points in pixels of the upright photo from its top left."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    index: str | None = Field(None, max_length=200, description="Name of the index to search; the first one where it is not given.")
    point: Annotated[list[Annotated[str, Field(pattern=PAIR, max_length=50)]], BeforeValidator(_as_list)] = Field(
        default_factory=list, max_length=MAX_POINTS, description="Pixel x,y of the object wanted; may be given several times."
    )
    top: int = Field(5, ge=1, le=100, description="How many places to return at most.")
    heading_deg: float | None = Field(
        None, ge=-360, le=360, description="Where a drone photo's upper edge or a street photo's middle points."
    )
    fov_deg: float | None = Field(None, ge=1, le=360, description="Horizontal field of view; 360 is a panorama.")
    height_m: float | None = Field(None, ge=0.3, le=10_000, description="Height of the camera above ground.")
    tilt_deg: float | None = Field(None, ge=0, le=90, description="Tilt from straight down.")
    kind: Literal["drone", "street"] | None = Field(None, description="Who took the photo; one that does not tell is tried as both.")
    near: Annotated[str, Field(pattern=PAIR, max_length=50)] | None = Field(None, description="Only places around this lat,lon.")
    radius_m: float | None = Field(None, ge=0.1, le=2e7, description="How far around it; 250 unless told.")
    use_exif_position: bool = Field(False, description="Only places around the position in the photo's EXIF.")
    bounds: Annotated[str, Field(pattern=FOUR, max_length=100)] | None = Field(
        None, description="Only places in this box: west,south,east,north; west > east across the antimeridian."
    )
    polygon: str | None = Field(None, max_length=1_000_000, description="Only places in this GeoJSON polygon.")
    vintage: str | None = Field(None, max_length=50, description="Only imagery of a year, month or day, or of a span like 2021/2023-06.")
    anyway: bool = Field(False, description="Also look for the object where the place is not to be relied on.")

    def points(self) -> tuple[tuple[float, float], ...]:
        """Return the points asked about."""
        return tuple(_pair(point) for point in self.point)

    def options(self) -> BatchOptions:
        """Return what is asked as the engine takes it; raise UsageError for what does not fit together."""
        near = None if self.near is None else _pair(self.near)
        if near is not None and not (abs(near[0]) <= 90.0 and abs(near[1]) <= 180.0):
            raise UsageError(f"near {self.near} is not on the earth; give lat,lon in degrees, latitude first")
        if self.radius_m is not None and near is None and not self.use_exif_position:
            raise UsageError("radius_m is around a place; give that with near, or take the photo's with use_exif_position")
        bounds = None if self.bounds is None else _four(self.bounds)
        polygon = None if self.polygon is None else _geojson(self.polygon)
        Filters.of(bounds, near, self.radius_m, polygon, self.vintage)
        return BatchOptions(
            self.top, self.heading_deg, self.fov_deg, self.height_m, near, self.radius_m, self.use_exif_position, self.tilt_deg,
            self.kind, self.anyway, bounds, polygon, self.vintage,
        )  # fmt: skip


class JobQuestion(Question):
    """The fields of a job."""

    sequence: bool = Field(
        False, description="Let photos of one drive (`group`, else folder), in order of their times, choose among their places together."
    )
    max_speed_m_s: float = Field(SequenceOptions.max_speed_m_s, ge=0.01, le=1000, description="The greatest speed of a drive.")
    max_step_m: float = Field(
        SequenceOptions.max_step_m, ge=0.01, le=1e6, description="From photo to photo of a drive at most, where times are not known."
    )

    def drives(self) -> SequenceOptions | None:
        """Return what drives may do; None where each photo stays by itself."""
        return SequenceOptions(self.max_speed_m_s, self.max_step_m) if self.sequence else None


Asked = TypeVar("Asked", bound=Question)


def question_of(
    form: FormData, model: type[Asked], files: tuple[str, ...], others: tuple[str, ...] = ()
) -> tuple[Asked, dict[str, list[UploadFile]]]:
    """Return a form's question and its files by field, but not the fields `others`; raise Problem where one is unknown or wrong."""
    found: dict[str, list[UploadFile]] = {}
    said: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in others:
            continue
        if name in files:
            if not isinstance(value, UploadFile):
                raise Problem("validation", f"{name}: is text; send it as a file, with a file name")
            found.setdefault(name, []).append(value)
        elif isinstance(value, UploadFile):
            raise Problem("validation", f"{name}: is a file; only {' and '.join(files)} are sent as files")
        elif name == "point":
            said.setdefault(name, []).append(value)
        elif name in said:
            raise Problem("validation", f"{name}: is given twice; give it once")
        elif value != "":  # a field that was left empty in a browser's form says nothing
            said[name] = value
    try:
        return model.model_validate(said), found
    except ValidationError as error:
        raise Problem("validation", faults(error.errors(include_url=False))) from error


def form_schema(model: type[Question], files: dict[str, dict[str, Any]], required: tuple[str, ...]) -> dict[str, Any]:
    """Return OpenAPI's description of a multipart form: its files, and the fields of a question."""
    properties = dict(files)
    for name, schema in model.model_json_schema()["properties"].items():
        own = {key: value for key, value in schema.items() if key not in ("anyOf", "default", "title")}
        given = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]  # what is not known is not sent
        properties[name] = {**(given[0] if given else {}), **own}
        if schema.get("default") is not None:
            properties[name]["default"] = schema["default"]
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def _pair(text: str) -> tuple[float, float]:
    first, second = (float(part) for part in text.split(","))
    return first, second


def _four(text: str) -> tuple[float, float, float, float]:
    west, south, east, north = (float(part) for part in text.split(","))
    return west, south, east, north


def _geojson(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError("polygon is not JSON; give a GeoJSON Polygon, MultiPolygon or features of such") from error
    if not isinstance(data, dict):
        raise UsageError("polygon is not GeoJSON, but JSON of another kind")
    return data
