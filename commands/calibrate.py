"""`geo calibrate`: how sure answers are, measured on photos of known places and kept in the index."""

from __future__ import annotations

import json as as_json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossgeo.commands import console, outputs
from crossgeo.commands.index_options import IndexPath
from crossgeo.commands.options import StreetWeights, Weights, spread
from crossgeo.commands.run_options import Running
from crossgeo.commands.stopping import stopping
from crossgeo.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table


@spread
def calibrate(
    index: IndexPath,
    pairs: Annotated[
        Path | None,
        typer.Argument(
            metavar="PAIRS", help="Photos of known places: a town's folder, a truth.geojson, or a .csv, .jsonl or .parquet list."
        ),
    ] = None,
    answers: Annotated[Path | None, typer.Option(help="Answers of geo batch about these photos, .jsonl or .geojson.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for answers, report.json and plots; else INDEX.calibration here.")] = None,
    located: Annotated[float, typer.Option(min=0.5, max=0.999, help="The least probability of an answer that is located.")] = 0.95,
    within_m: Annotated[float, typer.Option(help="How near the truth it must probably lie: 5, 10, 25 or 50.")] = 25.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, and leave the index as it is.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take the calibration away that the index has.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what ground is held out.")] = 0,
    weights: Weights = "egotr-s-drone",
    street_weights: StreetWeights = "auto",
    *,
    running: Running,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Measure how sure answers are on photos of known places: probabilities, a radius that holds in nine of ten cases, and the status."""
    if undo:
        if pairs is not None or answers is not None or dry_run:
            raise UsageError("--undo takes a calibration away and needs no photos; give it with the index alone")
        from crossgeo.indexer.calibrated import set_calibration

        done = set_calibration(index, None)
        console.say(f"{index}: not calibrated any more, generation {done.generation}")
        return
    if pairs is None:
        raise UsageError("PAIRS is missing: photos of known places to calibrate with, or --undo")
    from crossgeo.engine.batch import Stopped
    from crossgeo.engine.search import GeoSearch
    from crossgeo.engine.status import Sure
    from crossgeo.training.calibration import calibrate as fit
    from crossgeo.training.calibration.known_photos import read_known
    from crossgeo.training.calibration.reliability_plot import save_reliability

    sure = Sure(located, within_m)
    folder = out or Path(f"{index.name}.calibration")
    outputs.check_folder(folder, "--out")
    read_known(pairs)  # what is wrong with it is said before any model is loaded
    options = running.options(build=answers is None)
    with (
        GeoSearch.open(index, weights, None, street_weights=street_weights or None, runtime=options) as search,
        console.Progress("locating", "photos") as shown,
    ):
        try:
            with stopping() as stop:
                report = fit(search, pairs, folder, answers, sure, seed, dry_run, lambda at: shown(at.done, at.total), stop, console.say)
        except Stopped:
            raise KeyboardInterrupt(
                f"interrupted; the answers so far are kept in {folder}, and the same command goes on from there"
            ) from None
    folder.mkdir(parents=True, exist_ok=True)
    plain = report.to_json()
    (folder / "report.json").write_text(as_json.dumps(plain, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for kind, held in report.held_out.items():
        note = f"held-out ground, {held.splits} splits; bars are intervals of 95 %"
        save_reliability(folder / f"reliability-{kind}.png", held, f"{index.name}, {kind} photos: told and come true", note)
    if json:
        console.print_json(plain)
    else:
        for table in _tables(plain):
            console.stdout().print(table)
    for reason, count in report.left_out.items():
        console.say(f"{count} photos were left out, {reason}")
    for kind, why in report.too_few.items():
        console.say(f"{kind} photos are not calibrated: {why}")
    for kind, own in report.calibration.kinds.items():
        if own.level is None:
            console.say(f"{kind} photos have no radius that holds: too few were left to say")
    what = "left as it is" if report.generation is None else f"calibrated, generation {report.generation}"
    console.say(f"{index}: {what}; {folder} has the report")


def _tables(report: dict[str, Any]) -> list[Table]:
    """Return a table for each kind of photo, of what held on held-out ground."""
    from rich import box
    from rich.table import Table

    sure = report["thresholds"]
    right = f"of those within {sure['within_m']:g} m"
    rows = (
        ("coverage", "radius of 90 % holds", 100.0, " %"), ("median_radius_m", "its median", 1.0, " m"),
        ("coverage_uncalibrated", "radius without calibration holds", 100.0, " %"), ("located", "located", 100.0, " %"),
        ("located_right", right, 100.0, " %"),
    )  # fmt: skip
    tables = []
    for kind, own in report["kinds"].items():
        method = own["chances"]["method"]
        table = Table(title=f"{kind}: {own['pairs']} photos on {own['cells']} cells of ground, {method}", box=box.SIMPLE_HEAD)
        table.add_column("on held-out ground")
        table.add_column("")
        found = own["figures"]
        if not found:
            table.add_row("too few photos to hold any out", "")
        for name, words, scale, unit in rows if found else ():
            table.add_row(words, _figure(found[name], scale, unit))
        for limit in ("5", "10", "25", "50") if found else ():
            brier, ece = (_figure(found[f"{name}_{limit}_m"], 1.0, "") for name in ("brier", "ece"))
            table.add_row(f"within {limit} m: came true {_figure(found[f'share_{limit}_m'], 100.0, ' %')}", f"Brier {brier}, ECE {ece}")
        tables.append(table)
    return tables


def _figure(figure: dict[str, Any] | None, scale: float, unit: str) -> str:
    if figure is None or figure["value"] is None:
        return "none"
    digits = 3 if unit == "" else 1
    value, low, high = (f"{scale * figure[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value}{unit} ({low} to {high})"
