"""`geo demo`: the main job on a made-up town, and on real imagery where there is some, measured against the truth."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from crossgeo.commands import console, outputs
from crossgeo.commands.options import ObjectWeights, Weights
from crossgeo.errors import InputError

if TYPE_CHECKING:
    from crossgeo.demo import Trial

Data = Annotated[
    Path | None, typer.Option(envvar="GEO_DATA", show_envvar=True, help="Folder of real imagery; ../shared/data when there, else left out.")
]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the town, the indexes and the pictures.")] = Path("demo-out"),
    seed: Annotated[int, typer.Option(min=9000, help="Which town; these were never trained on.")] = 9001,
    size_m: Annotated[int, typer.Option(min=200, max=3000, help="Side of the town in metres.")] = 600,
    photos: Annotated[int, typer.Option(min=1, max=1000, help="Photos to take over the town.")] = 8,
    street_photos: Annotated[
        int, typer.Option(min=0, max=1000, help="Panoramas, and as many ordinary photos, to take in its streets.")
    ] = 4,
    data: Data = None,
    real_photos: Annotated[int, typer.Option(min=1, help="Real photos to ask about, spread over the flight, at most all.")] = 6,
    town_only: Annotated[bool, typer.Option("--town-only", help="Leave real imagery out.")] = False,
    weights: Weights = "egotr-s-drone",
    object_weights: ObjectWeights = "attengeo-s-drone",
    json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON object.")] = False,
) -> None:
    """Index imagery, locate photos and clicked buildings, compare with the truth: a town first, then real imagery."""
    outputs.check_folder(out, "--out")
    from crossgeo.demo import run_real, run_town

    began = time.monotonic()
    real = None if town_only else data or _beside()
    if real is not None and not real.is_dir():
        raise InputError(f"{real}: no such folder of imagery; --town-only leaves it out")
    out.mkdir(parents=True, exist_ok=True)
    models = (weights, object_weights)
    console.say(f"Making town {seed} and locating {photos} photos of it; their headings are kept from the search.")
    with console.Stages() as stages:
        trials = run_town(out, seed, size_m, photos, street_photos, models, stages)
    if real is None:
        console.say("No real imagery (--data, GEO_DATA, ../shared/data): the town only.")
    else:
        console.say(f"Now {real_photos} real drone photos, from {real}; describing thousands of tiles comes first.")
        with console.Stages() as stages:
            trials.append(run_real(real, out, real_photos, models, stages))
    if json:
        console.print_json({"trials": [trial.to_json() for trial in trials], "took_s": round(time.monotonic() - began, 1)})
        return
    console.stdout().print(*(_photos(trial) for trial in trials), _summary(trials), sep="\n")
    for trial in trials:
        if trial.picture is not None:
            print(f"picture: {trial.picture}")
    photo = out / f"town-{seed}" / "photos" / trials[0].outcomes[0].photo
    print(f"all in {time.monotonic() - began:.0f} s; ask it yourself: geo query {photo} --index {trials[0].index}")


def _beside() -> Path | None:
    for folder in (Path("../shared/data"), Path(__file__).resolve().parents[2] / "shared" / "data"):
        if (folder / "SOURCES.md").is_file():
            return Path(os.path.relpath(folder))
    return None


def _photos(trial: Trial) -> Table:
    table = Table(title=f"{trial.title}: each photo against the truth", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("photo")
    table.add_column("status")
    for name in ("off", "degrees off", "box IoU", "ms"):
        table.add_column(name, justify="right")
    for o in trial.outcomes:
        table.add_row(o.photo, o.status, _metres(o.error_m), _number(o.heading_error_deg, 1), _number(o.iou, 2), f"{o.took_ms:.0f}")
    return table


def _summary(trials: list[Trial]) -> Table:
    table = Table(title="Results against the truth", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("")
    for trial in trials:
        table.add_column(trial.title, justify="right")
    counts, boxes = [len(trial.outcomes) for trial in trials], [trial.boxes(0.5) for trial in trials]
    rows = {
        "tiles in the index": [str(trial.tiles) for trial in trials],
        "index built in": [f"{trial.built_s:.0f} s" for trial in trials],
        "photos located within 5 m": [f"{trial.within(5.0)} of {count}" for trial, count in zip(trials, counts, strict=True)],
        "within 25 m": [f"{trial.within(25.0)} of {count}" for trial, count in zip(trials, counts, strict=True)],
        "median distance from the truth": [_metres(trial.median_error_m) for trial in trials],
        "clicked objects with a right box (IoU 0.5)": [f"{right} of {clicked}" if clicked else "-" for right, clicked in boxes],
        "median time of a photo": [f"{trial.median_ms / 1000.0:.1f} s" for trial in trials],
    }
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _metres(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f} m" if value < 10_000.0 else f"{value / 1000.0:,.0f} km"
