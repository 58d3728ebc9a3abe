"""`geo data`: data sets of pairs in the public layouts: what is wrong with one, and writing one from a town."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossgeo.commands import console
from crossgeo.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Check data sets in the layouts of CVUSA, CVACT, CVOGL, G2D, VIGOR and University-1652.")

LAYOUTS = "cvusa, cvact, cvogl (cvogl-drone, cvogl-street), g2d, vigor, university1652"
Json = Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")]


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the data set.")],
    layout: Annotated[str | None, typer.Option(help=f"{LAYOUTS} or folder; without it the folder's own files tell.")] = None,
    imagery: Annotated[
        list[Path] | None, typer.Option(help="With --layout folder: imagery of the ground where its photos were taken; may be repeated.")
    ] = None,
    show: Annotated[int, typer.Option(min=1, help="How many problems to print at most; --json has all.")] = 20,
    json: Json = False,
) -> None:
    """Read a whole data set and say what is missing or wrong: pictures, sizes, ids, clicks, boxes, ground that splits share."""
    from crossgeo.training.datasets.check import check as look

    with console.Progress("looking at pictures", "pictures") as shown:
        report = look(folder, layout, imagery or [], progress=shown)
    if json:
        console.print_json({"folder": str(folder), "problems": report.problems, "counts": report.counts})
    else:
        for problem in report.problems[:show]:
            print(problem)
        if len(report.problems) > show:
            print(f"... and {len(report.problems) - show} more; --show {len(report.problems)} prints all")
        console.print_rows([(name, str(count)) for name, count in report.counts.items()])
    if report.problems:
        raise InputError(f"{folder}: {len(report.problems)} problem{'s' * (len(report.problems) > 1)} found")
    console.say(f"{folder}: whole")
