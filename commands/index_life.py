"""`geo index add`, `remove`, `merge`, `compact`, `rollback`, `export`: what happens to an index after it was built."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossgeo.commands import console, outputs
from crossgeo.commands.index_options import About, IndexPath, Json, Keep, Searching
from crossgeo.commands.index_summary import disk_bytes, summary
from crossgeo.commands.options import Weights, spread
from crossgeo.commands.run_options import Running
from crossgeo.errors import UsageError

if TYPE_CHECKING:
    from crossgeo.indexer.described import Describe
    from crossgeo.indexer.region import Region

Bounds = Annotated[
    tuple[float, float, float, float] | None, typer.Option(metavar="W S E N", help="A box of ground in degrees: west south east north.")
]
Polygon = Annotated[Path | None, typer.Option(help="GeoJSON polygons of ground.")]


@spread
def add(
    index: IndexPath,
    sources: Annotated[list[Path], typer.Argument(help="Imagery, as geo index build takes it.")],
    source_crs: Annotated[str | None, typer.Option(help="CRS of sources that name none.")] = None,
    over: Annotated[bool, typer.Option("--over", help="Lay it over the imagery that is there, not under it.")] = False,
    weights: Weights = "egotr-s-drone",
    *,
    about: About,
    searching: Searching,
    running: Running,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away an unfinished addition of other imagery.")] = False,
    json: Json = False,
) -> None:
    """Add imagery to an index, which then answers like one built of all; the same command goes on after an interruption."""
    from crossgeo.engine.describe import EgoTRDescriber
    from crossgeo.engine.runtime.pictures import of_imagery
    from crossgeo.indexer.add import AddOptions, add_to_index
    from crossgeo.indexer.manifest import read_manifest

    began, before = time.monotonic(), read_manifest(index)
    options = AddOptions(
        source_crs=source_crs,
        vintage=about.vintage,
        licence=about.licence,
        masks=about.masks(),
        over=over,
        keep=about.keep,
        restart=restart,
        budget=searching.budget(),
    )
    describer = EgoTRDescriber.load(weights, running.options(build=True), lambda: of_imagery(sources, source_crs))
    with console.Stages() as stages:
        done = add_to_index(
            sources, index, describer.describe, describer.identity, options, progress=lambda at: stages(at.stage, at.done, at.total)
        )
    _say(index, f"{before.tiles} tiles before, {done.tiles} now, in {time.monotonic() - began:.0f} s", json=json)
    if done.tiles == before.tiles and done.generation != before.generation and not over:
        console.say("The new imagery lies under what was there, and shows nowhere else; --over would lay it on top.")


@spread
def remove(
    index: IndexPath,
    bounds: Bounds = None,
    polygon: Polygon = None,
    source: Annotated[str | None, typer.Option(help="A source, by the name that geo index info shows.")] = None,
    vintage: Annotated[str | None, typer.Option(help="Imagery of a year, a month or a day; 2023 is also 2023-06.")] = None,
    weights: Weights = "egotr-s-drone",
    *,
    running: Running,
    keep: Keep = 1,
    json: Json = False,
) -> None:
    """Remove ground, a source or a vintage: its imagery is no longer read and its tiles are no longer found."""
    from crossgeo.indexer.manifest import read_manifest
    from crossgeo.indexer.remove import What, remove_from_index

    before = read_manifest(index)
    what = What(_region(bounds, polygon), source, vintage)
    with console.Stages() as stages:
        done = remove_from_index(
            index, what, when_needed(index, weights, running), keep=keep, progress=lambda at: stages(at.stage, at.done, at.total)
        )
    _say(index, f"{before.tiles} tiles before, {done.tiles} now; compact it to have the room back", json=json)


def rollback(
    index: IndexPath,
    to: Annotated[int | None, typer.Option(min=1, help="A generation that is kept; without it, the one before.")] = None,
    json: Json = False,
) -> None:
    """Go back to the generation before, as it was: after an addition, a removal or a build that was a mistake."""
    from crossgeo.indexer.generations import roll_back

    done = roll_back(index, to)
    _say(index, f"generation {done.generation} of {done.created} answers again, {done.tiles} tiles", json=json)


@spread
def merge(
    indexes: Annotated[list[Path], typer.Argument(metavar="INDEX...", help="Indexes of one model and grid, the first over the others.")],
    out: Annotated[Path, typer.Option(help="The index to make.")],
    weights: Weights = "egotr-s-drone",
    *,
    running: Running,
    json: Json = False,
) -> None:
    """Join indexes into a new one that answers like a build of all their imagery."""
    from crossgeo.indexer.merge import merge_indexes

    outputs.check_new(out, "--out")
    with console.Stages() as stages:
        describe = when_needed(indexes[0], weights, running)
        done = merge_indexes(indexes, out, describe, progress=lambda at: stages(at.stage, at.done, at.total))
    _say(out, f"{done.tiles} tiles of {len(indexes)} indexes", json=json)


def export(
    index: IndexPath,
    out: Annotated[Path, typer.Option(help="The file to write: .geojson or .csv.")],
    descriptors: Annotated[Path | None, typer.Option(help="Also write the descriptors, row n of tile n: a .npy file.")] = None,
) -> None:
    """Write the tiles' centres, with source, vintage and licence, for a map or another program."""
    from crossgeo.indexer.export import check_formats, export_descriptors, export_tiles
    from crossgeo.indexer.index import GeoIndex

    check_formats(out, descriptors)
    outputs.check_file(out, "--out")
    if descriptors is not None:
        outputs.check_file(descriptors, "--descriptors")
    with GeoIndex.open(index) as opened:
        console.say(f"{out}: {export_tiles(opened, out)} tiles")
        if descriptors is not None:
            rows, dim = export_descriptors(opened, descriptors)
            console.say(f"{descriptors}: {rows} x {dim} float32")


@spread
def compact(
    index: IndexPath,
    keep: Annotated[int, typer.Option(min=0, help="How many generations before the new one stay; 0 frees all room.")] = 0,
    *,
    searching: Searching,
    json: Json = False,
) -> None:
    """Rewrite an index without what is removed, in as few files as it needs, and give the room of older generations back."""
    from crossgeo.indexer.compact import compact_index

    before = disk_bytes(index)
    compact_index(index, keep, searching.budget())
    _say(index, f"{before / 1e6:.1f} MB before, {disk_bytes(index) / 1e6:.1f} MB now", json=json)


def when_needed(index: Path, weights: str, running: Running) -> Describe:
    """Return a description of tiles by the index's model, which is loaded and checked the first time it is asked."""
    loaded: list[Any] = []

    def describe(tiles: Any) -> Any:
        if not loaded:
            from crossgeo.engine.describe import EgoTRDescriber
            from crossgeo.engine.runtime.pictures import of_index
            from crossgeo.indexer.index import GeoIndex
            from crossgeo.indexer.manifest import check_model, read_manifest

            def pictures() -> Any:
                with GeoIndex.open(index) as opened:
                    return of_index(opened)

            describer = EgoTRDescriber.load(weights, running.options(build=False), pictures)
            check_model(index, read_manifest(index), describer.identity)
            loaded.append(describer)
        return loaded[0].tiles(tiles)

    return describe


def _region(bounds: tuple[float, float, float, float] | None, polygon: Path | None) -> Region | None:
    from crossgeo.indexer.region import Region

    if bounds is not None and polygon is not None:
        raise UsageError("--bounds and --polygon both name ground; give one of them")
    return Region.read(polygon) if polygon is not None else Region.box(*bounds) if bounds is not None else None


def _say(index: Path, what: str, *, json: bool) -> None:
    if json:
        console.print_json(summary(index))
    else:
        console.say(f"{index}: {what}")
