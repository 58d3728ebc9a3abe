"""`geo index plan`: what a build would take, before it is begun."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossgeo.commands import console
from crossgeo.commands.index_options import Json, Searching
from crossgeo.commands.options import Weights, spread
from crossgeo.commands.run_options import Running

if TYPE_CHECKING:
    from crossgeo.indexer.plan import Plan

DIM = 768  # of every model that describes


@spread
def plan(
    sources: Annotated[list[Path], typer.Argument(help="Imagery, as geo index build takes it.")],
    stride_m: Annotated[float, typer.Option(min=0.5, help="From one tile to the next in metres.")] = 15.0,
    gsd_m: Annotated[float, typer.Option(min=0.01, help="Metres of ground a pixel of the index covers.")] = 0.2,
    crs: Annotated[str | None, typer.Option(help="One metric CRS for all, like EPSG:32645; else each place gets its UTM zone.")] = None,
    source_crs: Annotated[str | None, typer.Option(help="CRS of sources that name none.")] = None,
    min_valid: Annotated[float, typer.Option(min=0.0, max=1.0, help="Leave out a tile with less imagery than this share.")] = 0.15,
    mask: Annotated[list[Path] | None, typer.Option(help="GeoJSON polygons of ground that is not to be indexed.")] = None,
    tiles_per_s: Annotated[float | None, typer.Option(min=0.001, help="How many tiles a second; without it, a short try says.")] = None,
    weights: Weights = "egotr-s-drone",
    *,
    searching: Searching,
    running: Running,
    json: Json = False,
) -> None:
    """Say how many tiles and bytes a build would make of imagery and how long it would take, from a small sample of it; write nothing."""
    from crossgeo.engine.describe import EgoTRDescriber
    from crossgeo.engine.runtime.pictures import of_imagery
    from crossgeo.indexer.build import BuildOptions
    from crossgeo.indexer.plan import plan_index
    from crossgeo.indexer.region import Region

    masks = tuple(Region.read(path) for path in mask or ())
    options = BuildOptions(
        gsd_m=gsd_m,
        stride_m=stride_m,
        min_valid=min_valid,
        crs=crs,
        source_crs=source_crs,
        masks=masks,
        budget=searching.budget(),
    )
    describe = None
    if tiles_per_s is None:
        describe = EgoTRDescriber.load(weights, running.options(build=False), lambda: of_imagery(sources, source_crs)).tiles
    found = plan_index(sources, options, DIM, describe, tiles_per_s)
    if json:
        console.print_json({**asdict(found), "hours": found.hours})
    else:
        console.print_rows(_rows(found))


def _rows(found: Plan) -> list[tuple[str, str]]:
    rows = [
        ("tiles", f"about {found.tiles}"),
        (
            "blocks",
            f"{found.blocks} of 256 x 256 px in {found.zones} CRS{'s' * (found.zones > 1)}, {100 * found.valid_share:.0f} % imagery",
        ),
        ("disk", f"about {_size(found.bytes)}, up to {_size(found.peak_bytes)} while it is built"),
    ]
    rows += [("search", line) for line in found.search]
    if found.describe_s is not None and found.hours is not None:
        rows.append(("time", f"about {_span(found.cut_s + found.describe_s)}, {found.tiles_per_s:.1f} tiles a second"))
    return rows


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"
