"""`geo batch`: a folder of photos, one file of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossgeo.commands import console, outputs
from crossgeo.commands.options import Asked, spread
from crossgeo.commands.run_options import Running
from crossgeo.errors import PartialError

Output = Annotated[Path, typer.Option("--output", "-o", help="File of answers; .geojson, .csv or .jsonl chooses the format.")]

WORTH_BUILDING = 20  # photos: engines take about a minute to build, once, and save some seconds a photo


@spread
def batch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of photos; its subfolders too.")],
    output: Output,
    asked: Asked,
    running: Running,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of answers.")] = False,
) -> None:
    """Locate every photo of a folder; one bad photo never stops it, and the same command goes on after an interruption."""
    options = asked.options()
    from crossgeo.engine.batch import photos_in, run_batch
    from crossgeo.engine.output import check_output

    check_output(output)
    outputs.check_file(output, "--output")
    photos = photos_in(folder)
    with asked.open(running.options(build=len(photos) >= WORTH_BUILDING)) as search, console.Progress("locating", "photos") as shown:
        report = run_batch(search, photos, output, options, overwrite, progress=lambda at: shown(at.done, at.total))
        asked.say_trouble(search)
    before = f", {report.resumed} of them before an interruption" if report.resumed else ""
    console.say(f"{output}: {report.total - report.failed} of {report.total} photos answered{before}")
    if report.failed:
        raise PartialError(f"{report.failed} of {report.total} photos failed; {output} says why beside each")
