"""`geo data`: data sets of pairs in the public layouts: what is wrong with one, and writing one from a town."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from crossgeo.commands import console, outputs
from crossgeo.commands.options import DATA_LAYOUTS
from crossgeo.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Check data sets of pairs in the public layouts, and write made towns in them.")

Json = Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")]


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the data set.")],
    layout: Annotated[str | None, typer.Option(help=f"{DATA_LAYOUTS} or folder; without it the folder's own files tell.")] = None,
    imagery: Annotated[
        list[Path] | None, typer.Option(help="With --layout folder: imagery of the ground where its photos were taken; may be repeated.")
    ] = None,
    show: Annotated[int, typer.Option(min=1, help="How many problems to print at most; --json has all.")] = 20,
    json: Json = False,
) -> None:
    """Read a whole data set and say what is missing or wrong: pictures, sizes, ids, headings, clicks, boxes, scale, what splits share."""
    from crossgeo.training.datasets.check import check as look

    with console.Progress("looking at pictures", "pictures") as shown:
        report = look(folder, layout, imagery or [], progress=shown)
    if json:
        console.print_json({"folder": str(folder), "problems": report.problems, "counts": report.counts, "notes": report.notes})
    else:
        for problem in report.problems[:show]:
            print(problem)
        if len(report.problems) > show:
            print(f"... and {len(report.problems) - show} more; --show {len(report.problems)} prints all")
        console.print_rows([(name, str(count)) for name, count in report.counts.items()])
        for note in report.notes:
            print(note)
    if report.problems:
        raise InputError(f"{folder}: {len(report.problems)} problem{'s' * (len(report.problems) > 1)} found")
    console.say(f"{folder}: whole")


@app.command()
def write(
    layout: Annotated[str, typer.Option(help="cvusa or cvact from panoramas, cvogl-drone, cvogl-street or g2d from clicked objects.")],
    town: Annotated[
        list[Path], typer.Option(help="Town that `geo town make` wrote; may be repeated: the last is then the test, the others train.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to make; it must not exist.")],
    cell_m: Annotated[float, typer.Option(min=1.0, help="One town is split by ground, in squares this wide.")] = 150.0,
    seed: Annotated[int, typer.Option(min=0, help="Which ground is held out.")] = 0,
    json: Json = False,
) -> None:
    """Write made towns as a data set in a public layout, split by ground and never by photo."""
    outputs.check_new(out, "--out")
    from crossgeo.training.datasets.from_town import is_dense, write_from_towns

    with console.Progress("writing pairs", "pairs") as shown:
        counts, left_out = write_from_towns(town, layout, out, cell_m, seed, progress=shown)
    if layout == "cvact" and not is_dense(town):
        console.say(f"{town[-1]} has no panoramas every 5 m (`geo town make --dense`), so the test is not dense as CVACT's is")
    if json:
        console.print_json({"out": str(out), "counts": counts, "left_out": [{"photo": name, "reason": why} for name, why in left_out]})
        return
    console.print_rows([*((split, str(count)) for split, count in counts.items()), ("left out", str(len(left_out)))])
    for why, times in Counter(reason for _, reason in left_out).most_common():
        first = next(name for name, reason in left_out if reason == why)
        console.say(f"left out {times}, like {first}: {why}")
