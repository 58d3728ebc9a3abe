"""The options that several commands share, as dataclasses, and `spread`, by which a command takes them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from crossgeo.commands import console, parse
from crossgeo.errors import UsageError

if TYPE_CHECKING:
    from crossgeo.engine.question import BatchOptions
    from crossgeo.engine.runtime.choose import RuntimeOptions
    from crossgeo.engine.search import GeoSearch
    from crossgeo.indexer.index import OpenRows

DATA_LAYOUTS = (  # as `training.datasets.layouts` reads them, which `--help` does not wait for
    "cvusa, cvact, cvogl (cvogl-drone, cvogl-street), g2d, vigor, vigor-cross, university1652, university1652-street, university1652-google"
)
CAMERA, WHERE, MODELS = "What is known of the camera (else EXIF, else unknown)", "Where to look", "Models"

Weights = Annotated[str, typer.Option(help="Place model: a name that `geo weights list` shows, or a file.", rich_help_panel=MODELS)]
ObjectWeights = Annotated[str, typer.Option(help="Object model: likewise.", rich_help_panel=MODELS)]
StreetWeights = Annotated[
    str, typer.Option(help='The same for street photos; "auto" takes what goes with --weights, "" none.', rich_help_panel=MODELS)
]


class PhotoKind(StrEnum):
    """Who took a photo."""

    drone = "drone"
    street = "street"


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command in whose signature, which typer reads, the fields of each dataclass stand in the place of the dataclass."""
    hints = get_type_hints(command, include_extras=True)
    shared: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    taken: list[inspect.Parameter] = []
    for own in inspect.signature(command, eval_str=True).parameters.values():
        taken += _fields(shared[own.name]) if own.name in shared else [own.replace(kind=inspect.Parameter.KEYWORD_ONLY)]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        joined = {name: kind(**{field.name: given.pop(field.name) for field in fields(kind)}) for name, kind in shared.items()}
        command(**given, **joined)

    run.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in taken}
    return run


def _fields(kind: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    none, only = inspect.Parameter.empty, inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(field.name, only, default=none if field.default is MISSING else field.default, annotation=hints[field.name])
        for field in fields(kind)
    ]


@dataclass(frozen=True)
class Models:
    """Which weights answer, and where what they make of the imagery is kept."""

    weights: Weights = "egotr-s-drone"
    object_weights: ObjectWeights = "attengeo-s-drone"
    street_weights: StreetWeights = "auto"
    street_object_weights: StreetWeights = "auto"
    feature_cache: Annotated[
        Path | None, typer.Option(help="Folder to keep what models make of imagery in, for later questions.", rich_help_panel=MODELS)
    ] = None
    feature_cache_mb: Annotated[
        int, typer.Option(min=5, max=1_000_000, help="How large that folder may grow, in MB.", rich_help_panel=MODELS)
    ] = 1024
    feature_gpu_mb: Annotated[
        int | None,
        typer.Option(min=0, max=1_000_000, help="How much of a GPU's memory keeps features of windows, in MB.", rich_help_panel=MODELS),
    ] = None

    def check(self) -> None:
        """Raise WeightsError where the weights of objects, which are read at the first click, are not there."""
        from crossgeo.engine.describe import AUTO
        from crossgeo.models.library import find_weights

        find_weights(self.object_weights)
        if self.street_object_weights not in ("", AUTO):
            find_weights(self.street_object_weights)

    def opener(self, index: Path, runtime: RuntimeOptions, rows: OpenRows | None = None) -> Callable[[], GeoSearch]:
        """Return what opens an index with both models, here and wherever it is sent; the object model is looked for now and read at the
        first click. `rows`, as `GeoSearch.open` takes it, stays here."""
        from crossgeo.engine.search import GeoSearch

        self.check()
        return functools.partial(
            GeoSearch.open,
            index,
            weights=self.weights,
            object_weights=self.object_weights,
            street_weights=self.street_weights or None,
            street_object_weights=self.street_object_weights or None,
            feature_cache=self.feature_cache,
            feature_cache_bytes=self.feature_cache_mb * 1_000_000,
            feature_gpu_bytes=None if self.feature_gpu_mb is None else self.feature_gpu_mb * 1_000_000,
            runtime=runtime,
            rows=rows,
        )

    def open_at(self, index: Path, runtime: RuntimeOptions, rows: OpenRows | None = None) -> GeoSearch:
        """Open an index with both models."""
        return self.opener(index, runtime, rows)()

    def say_trouble(self, search: GeoSearch) -> None:
        """Say why what models made of the imagery was not kept, where it was to be."""
        troubles = (kept["trouble"] for kept in search.metrics().values())
        for trouble in dict.fromkeys(trouble for trouble in troubles if trouble is not None):
            console.say(f"--feature-cache {self.feature_cache}: {trouble}; what was made of the imagery was not kept there")


@dataclass(frozen=True, kw_only=True)
class Asked(Models):
    """What `geo query` and `geo batch` ask alike."""

    index: Annotated[Path, typer.Option(help="The index to search.", envvar="GEO_INDEX", show_envvar=True)]
    top: Annotated[int, typer.Option(min=1, max=100, help="How many places to return at most.")] = 5
    heading: Annotated[
        float | None,
        typer.Option(
            min=-360.0,
            max=360.0,
            help="Where a drone photo's upper edge or a street photo's middle points, degrees from north.",
            rich_help_panel=CAMERA,
        ),
    ] = None
    fov: Annotated[
        float | None,
        typer.Option(min=1.0, max=360.0, help="Horizontal field of view in degrees; 360 is a panorama.", rich_help_panel=CAMERA),
    ] = None
    height_m: Annotated[
        float | None, typer.Option(min=0.3, max=10_000.0, help="Height above ground in metres.", rich_help_panel=CAMERA)
    ] = None
    tilt: Annotated[float | None, typer.Option(min=0.0, max=90.0, help="Tilt from straight down, in degrees.", rich_help_panel=CAMERA)] = (
        None
    )
    kind: Annotated[
        PhotoKind | None, typer.Option(help="Who took the photo; one that does not tell is tried as both.", rich_help_panel=CAMERA)
    ] = None
    near: Annotated[str | None, typer.Option(metavar="LAT,LON", help="Only places around this one.", rich_help_panel=WHERE)] = None
    radius_m: Annotated[
        float | None, typer.Option(min=0.1, max=2e7, help="How far around it, in metres (250 unless told).", rich_help_panel=WHERE)
    ] = None
    use_exif_position: Annotated[
        bool, typer.Option("--use-exif-position", help="Only places around the position in the photo's EXIF.", rich_help_panel=WHERE)
    ] = False
    bounds: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="W S E N", help="Only places in this box of degrees; W > E across the antimeridian.", rich_help_panel=WHERE),
    ] = None
    polygon: Annotated[Path | None, typer.Option(help="Only places in the polygons of this GeoJSON file.", rich_help_panel=WHERE)] = None
    vintage: Annotated[
        str | None,
        typer.Option(help="Only imagery of a year, a month or a day, or of a span like 2021/2023-06.", rich_help_panel=WHERE),
    ] = None
    anyway: Annotated[bool, typer.Option("--anyway", help="Also look for the object where the place is not to be relied on.")] = False

    def options(self) -> BatchOptions:
        """Return it as the engine takes it; raise UsageError for what does not fit together."""
        around = parse.lat_lon(self.near)
        if self.radius_m is not None and around is None and not self.use_exif_position:
            raise UsageError("--radius-m is around a place; give that with --near LAT,LON, or take the photo's with --use-exif-position")
        from crossgeo.engine.question import BatchOptions
        from crossgeo.indexer.filters import Filters

        area = parse.geojson(self.polygon)
        Filters.of(self.bounds, around, self.radius_m, area, self.vintage)  # before any model is loaded
        return BatchOptions(
            self.top, self.heading, self.fov, self.height_m, around, self.radius_m, self.use_exif_position, self.tilt,
            None if self.kind is None else self.kind.value, self.anyway, self.bounds, area, self.vintage,
        )  # fmt: skip

    def open(self, runtime: RuntimeOptions) -> GeoSearch:
        """Open the index with both models."""
        return self.open_at(self.index, runtime)
