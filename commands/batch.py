"""`geo batch`: a folder of photos, one file of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossgeo.commands import console, parse
from crossgeo.commands.query import Fov, Heading, HeightM, Index, Near, ObjectWeights, RadiusM, Top, UseExif, Weights
from crossgeo.errors import PartialError

Output = Annotated[Path, typer.Option("--output", "-o", help="File of answers; .geojson, .csv or .jsonl chooses the format.")]


def batch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of photos; its subfolders too.")],
    output: Output,
    index: Index,
    top: Top = 5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of answers.")] = False,
    heading: Heading = None,
    fov: Fov = None,
    height_m: HeightM = None,
    near: Near = None,
    radius_m: RadiusM = None,
    use_exif_position: UseExif = False,
    weights: Weights = "egotr-s-drone",
    object_weights: ObjectWeights = "attengeo-s-drone",
) -> None:
    """Locate every photo of a folder; one bad photo never stops it, and the same command goes on after an interruption."""
    around = parse.lat_lon(near)
    from crossgeo.engine.batch import BatchOptions, photos_in, run_batch
    from crossgeo.engine.search import GeoSearch

    options = BatchOptions(
        top=top, heading_deg=heading, fov_deg=fov, height_m=height_m, near=around, radius_m=radius_m, use_exif_position=use_exif_position
    )
    photos = photos_in(folder)
    with GeoSearch.open(index, weights=weights, object_weights=object_weights) as search, console.Progress("locating", "photos") as shown:
        report = run_batch(search, photos, output, options, overwrite, progress=lambda done, total, _failed: shown(done, total))
    before = f", {report.resumed} of them before an interruption" if report.resumed else ""
    console.say(f"{output}: {report.total - report.failed} of {report.total} photos answered{before}")
    if report.failed:
        raise PartialError(f"{report.failed} of {report.total} photos failed; {output} says why beside each")
