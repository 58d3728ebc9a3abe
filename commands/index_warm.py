"""`geo index warm`: what the object model makes of ground, made before anybody clicks there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossgeo.commands import console, parse
from crossgeo.commands.index_life import Bounds, Polygon
from crossgeo.commands.index_options import IndexPath, Json
from crossgeo.commands.options import ObjectWeights, spread
from crossgeo.commands.run_options import Running

if TYPE_CHECKING:
    from crossgeo.engine.warming import Warming


@spread
def warm(
    index: IndexPath,
    feature_cache: Annotated[Path, typer.Option(help="The folder to keep it in, which searches are given, too.")],
    feature_cache_mb: Annotated[int, typer.Option(min=5, max=100_000_000, help="How large that folder may grow, in MB.")] = 1024,
    near: Annotated[list[str] | None, typer.Option(metavar="LAT,LON", help="Ground around this place; may be given several times.")] = None,
    radius_m: Annotated[float | None, typer.Option(min=0.1, max=2e7, help="How far around them, in metres (250 unless told).")] = None,
    bounds: Bounds = None,
    polygon: Polygon = None,
    object_weights: ObjectWeights = "attengeo-s-drone",
    plan: Annotated[bool, typer.Option("--plan", help="Say what it takes, and make nothing.")] = False,
    *,
    running: Running,
    json: Json = False,
) -> None:
    """Make what the object model makes of windows of ground and keep it, so that first clicks there are as quick as later ones.

    The same command goes on after an interruption.
    """
    around = [place for text in near or () if (place := parse.lat_lon(text)) is not None]
    area = parse.geojson(polygon)
    from crossgeo.engine.warming import warm_index

    def planned(found: Warming) -> bool:
        console.say(
            f"{index}: {found.windows} windows, {found.windows * found.window_bytes / 1e6:.1f} MB in {feature_cache}, "
            f"{found.there} of them there already; --feature-cache-mb {feature_cache_mb} keeps {found.room} for sure"
        )
        return not plan

    with console.Progress("making features", "windows") as progress:
        found = warm_index(
            index, feature_cache, object_weights, feature_cache_mb * 1_000_000, around, radius_m, bounds, area,
            running.options(build=not plan), planned, progress,
        )  # fmt: skip
    if json:
        console.print_json(
            {
                "windows": found.windows, "there_before": found.there, "bytes": found.bytes, "room_windows": found.room, "made": not plan,
            }
        )  # fmt: skip
    elif not plan:
        console.say(f"{feature_cache}: whole; give searches --feature-cache {feature_cache} --feature-cache-mb {feature_cache_mb}")
