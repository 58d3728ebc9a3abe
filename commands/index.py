"""`geo index`: make an index of imagery, look at it, change it, check it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from crossgeo.commands import console, index_plan, index_warm, outputs
from crossgeo.commands import index_life as life
from crossgeo.commands.cluster_options import Spreading
from crossgeo.commands.index_options import About, Helping, IndexPath, Json, Searching
from crossgeo.commands.index_summary import calibration_problems, summary
from crossgeo.commands.options import Weights, spread
from crossgeo.commands.run_options import Running
from crossgeo.errors import StoreError, UsageError

app = typer.Typer(no_args_is_help=True, help="Make an index of your imagery, look at it, change it, check it.")


@app.command()
@spread
def build(
    sources: Annotated[list[Path], typer.Argument(help="GeoTIFFs or COGs, folders of XYZ tiles named x-y-z, images with a world file.")],
    out: Annotated[Path, typer.Option(help="The index to make, a folder like city.geo.")],
    tile_m: Annotated[float | None, typer.Option(min=1.0, help="Side of a tile in metres; without it, what the model reads.")] = None,
    stride_m: Annotated[float, typer.Option(min=0.5, help="From one tile to the next in metres.")] = 15.0,
    gsd_m: Annotated[float, typer.Option(min=0.01, help="Metres of ground a pixel of the index covers.")] = 0.2,
    crs: Annotated[str | None, typer.Option(help="One metric CRS for all, like EPSG:32645; else each place gets its UTM zone.")] = None,
    source_crs: Annotated[str | None, typer.Option(help="CRS of sources that name none.")] = None,
    min_valid: Annotated[float, typer.Option(min=0.0, max=1.0, help="Leave out a tile with less imagery than this share.")] = 0.15,
    min_contrast: Annotated[float | None, typer.Option(min=0.0, max=255.0, help="Leave out tiles that show less, like water.")] = None,
    sparse_below: Annotated[float | None, typer.Option(min=0.0, max=255.0, help="Twice the stride where tiles show less.")] = None,
    weights: Weights = "egotr-s-drone",
    *,
    about: About,
    searching: Searching,
    running: Running,
    spreading: Spreading,
    helping: Helping,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there.")] = False,
    json: Json = False,
) -> None:
    """Cut imagery into tiles, describe them, write an index; the same command goes on after an interruption."""
    outputs.check_new(out, "--out")
    budget = searching.budget()
    helping.check(spreading)
    from crossgeo.engine.build import build_index, view_of
    from crossgeo.indexer.build import BuildOptions

    began = time.monotonic()
    read_m = view_of(weights).extent_m
    if tile_m is not None and tile_m != read_m:
        raise UsageError(f"--tile-m {tile_m:g}: {weights} reads tiles of {read_m:g} m; leave --tile-m out or give other --weights")
    options = BuildOptions(
        gsd_m=gsd_m, stride_m=stride_m, min_valid=min_valid, crs=crs, source_crs=source_crs,
        overwrite=overwrite, vintage=about.vintage, licence=about.licence, masks=about.masks(), keep=about.keep, budget=budget,
        min_contrast=min_contrast, sparse_below=sparse_below,
    )  # fmt: skip
    with helping.open(spreading, running) as (helpers, runtime), console.Stages() as stages:
        build_index(sources, out, weights, options, runtime, lambda at: stages(at.stage, at.done, at.total, at.who), helpers)
    found = summary(out)
    if json:
        console.print_json(found)
    else:
        console.say(f"{out}: {found['tiles']} tiles in {time.monotonic() - began:.0f} s; ask it with: geo query photo.jpg --index {out}")


@app.command()
def info(index: IndexPath, json: Json = False) -> None:
    """Show what an index holds: model, ground, sources, tiles, size."""
    found = summary(index)
    if json:
        console.print_json(found)
        return
    model = found["model"]
    rows = [
        ("index", f"{found['path']}, generation {found['generation']}, {found['bytes'] / 1e6:.1f} MB, made {found['created']}"),
        ("model", f"{model['name']}, weights {model['sha256'][:12]}, view {model['view']}"),
        ("tiles", f"{found['tiles']}, {found['tile_m']:g} m wide every {found['stride_m']:g} m, pixels of {found['gsd_m']:g} m"),
    ]
    rows += [("search", line) for line in found["search"]]
    if found["removed_tiles"]:
        rows.append(("removed", f"{found['removed_tiles']} tiles, whose room `geo index compact` gives back"))
    for segment in found["segments"]:
        south, west, north, east = segment["bounds_lat_lon"]
        rows.append(("ground", f"{south:.6f}, {west:.6f} to {north:.6f}, {east:.6f} in {segment['crs']}, {segment['tiles']} tiles"))
    for source in found["sources"]:
        about = [source["kind"], source["crs"], f"pixels of {source['gsd_m']:.3g} m"]
        about += [f"taken {source['vintage']}"] if source["vintage"] else []
        about += [f"licence {source['licence']}"] if source["licence"] else []
        about += ["partly masked"] if source["masked"] else []
        rows.append(("source", f"{source['name']} ({', '.join(about)})"))
    rows += [("calibrated", line) for line in found["calibration"] or ["no: `geo calibrate` measures how sure answers are"]]
    for kept in found["generations"]:
        if not kept["current"]:
            rows.append(("kept", f"generation {kept['generation']}, {kept['tiles']} tiles, made {kept['created']}"))
    rows.append(("content", found["manifest_sha256"]))
    console.print_rows(rows)


@app.command()
def verify(
    index: IndexPath,
    repair: Annotated[bool, typer.Option("--repair", help="Make again what can be made from files that are whole.")] = False,
    json: Json = False,
) -> None:
    """Read every file of an index and compare it with its checksum."""
    from crossgeo.indexer.repair import repair_index
    from crossgeo.indexer.verify import verify_index

    mended = repair_index(index) if repair else []
    problems = verify_index(index) or calibration_problems(index)
    if json:
        console.print_json({"index": str(index), "problems": problems, "repaired": mended})
    else:
        for line in mended:
            console.say(line)
        for problem in problems:
            print(problem)
    if problems:
        what = "which cannot be made from the rest" if repair else "some of which --repair may mend"
        raise StoreError(
            f"{index}: {len(problems)} problem{'s' * (len(problems) > 1)} found, {what}; "
            "restore the files, go back with `geo index rollback`, or build it again from its imagery"
        )
    console.say(f"{index}: whole")


for command in (index_plan.plan, index_warm.warm, life.add, life.remove, life.compact, life.merge, life.rollback, life.export):
    app.command()(command)
