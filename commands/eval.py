"""`geo eval`: models on data sets with known answers, by the published protocols, in metres, beside controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from crossgeo.commands import console, devices, outputs
from crossgeo.commands.options import DATA_LAYOUTS, spread
from crossgeo.errors import InputError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from crossgeo.training.evaluation.protocols import ProtocolName

app = typer.Typer(no_args_is_help=True, help="Judge models on data sets with known answers.")
SPLITS = ("test", "val")  # what is judged unless told, the first that there is; CVUSA and CVACT are published on val


class Heading(StrEnum):
    """What the questions say of the heading."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    BOTH = "both"

    @property
    def known(self) -> tuple[bool, ...]:
        """As the evaluation takes it."""
        return {"known": (True,), "unknown": (False,), "both": (True, False)}[self.value]


@dataclass(frozen=True)
class Shown:
    """What every evaluation is asked for alike."""

    controls: Annotated[bool, typer.Option(help="Measure controls beside every figure; they cost about as much again, or more.")] = True
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is drawn: directions of cuts, shifted headings, untrained weights.")] = 0
    out: Annotated[Path | None, typer.Option(help="Folder for report.json and plots.")] = None
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False

    def check(self) -> None:
        """Look at the folder, and for what draws the plots in it, before any model is loaded."""
        if self.out is not None:
            outputs.check_folder(self.out, "--out")
            from crossgeo.training.evaluation.drawing import check_drawable

            check_drawable()

    def finish(
        self,
        report: dict[str, Any],
        tables: Callable[[dict[str, Any]], Sequence[RenderableType]],
        draw: Callable[[Path], list[Path]],
    ) -> None:
        """Print a report; write it, and draw its plots, where a folder was given."""
        from crossgeo.training.evaluation.report import surroundings, write_report

        whole = {"format": "crossgeo-eval", "version": 1, **report, **surroundings()}
        if self.json:
            console.print_json(whole)
        else:
            console.stdout().print(*tables(whole), sep="\n")
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
            write_report(self.out / "report.json", whole)
            console.say(f"{self.out}: report.json{''.join(f', {path.name}' for path in draw(self.out))}")


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The data set.")]
Layout = Annotated[str | None, typer.Option(help=f"Its layout: {DATA_LAYOUTS}; else its files tell.")]
Split = Annotated[str | None, typer.Option(help="The split to judge: test, else val, unless told; of CVUSA and CVACT val.")]
Weights = Annotated[
    list[str],
    typer.Option(help="Weights: a name that `geo weights list` shows, or a file. Again for the same recipe trained from other seeds."),
]
Against = Annotated[str | None, typer.Option(help="Weights of another model, compared question by question.")]
Device = Annotated[str, typer.Option(help=f"Where networks run: {devices.HELP}")]


@app.command("retrieval")
@spread
def retrieval(
    folder: Folder,
    weights: Weights,
    shown: Shown,
    layout: Layout = None,
    split: Split = None,
    protocol: Annotated[list[str] | None, typer.Option(help="id, 5m, covering, place or place-back; else what was published.")] = None,
    fov: Annotated[list[float] | None, typer.Option(min=1.0, max=360.0, help="Fields of view in degrees (360, 180, 90, 70).")] = None,
    heading: Annotated[Heading, typer.Option(help="Whether questions give the heading.")] = Heading.BOTH,
    headings_tried: Annotated[int, typer.Option(min=1, max=360, help="Headings tried around the circle where it is unknown.")] = 24,
    against: Against = None,
    aerial_weights: Annotated[str | None, typer.Option(help="The aerial branch that street weights go with, unless shipped.")] = None,
    device: Device = "auto",
) -> None:
    """Judge place models: each photo against every aerial picture of a data set."""
    shown.check()
    from crossgeo.commands.eval_tables import retrieval_tables
    from crossgeo.training.datasets.layouts import read
    from crossgeo.training.evaluation.describing import PairModel
    from crossgeo.training.evaluation.places import FOVS_DEG
    from crossgeo.training.evaluation.plots import save_plots
    from crossgeo.training.evaluation.protocols import SAYS, protocols_of
    from crossgeo.training.evaluation.retrieval_report import RetrievalSettings, evaluate_retrieval
    from crossgeo.training.pairs import PairSet

    wrong = [name for name in protocol or () if name not in SAYS]
    if wrong:
        raise UsageError(f"--protocol {wrong[0]}: no such protocol; choose from {', '.join(SAYS)}")
    device = devices.device_of(device)
    every = read(folder, layout)
    if not isinstance(every, PairSet):
        raise InputError(f"{folder}: {every.name} is a set of clicked objects; judge it with `geo eval objects`")
    pairs = every.split(split or _split_of(every.splits, every.layout))
    models = [PairModel.load(name, device, aerial_weights) for name in weights]
    other = PairModel.load(against, device, aerial_weights) if against else None
    protocols = tuple(cast("list[ProtocolName]", protocol)) if protocol else protocols_of(pairs)
    fovs = tuple(sorted(set(fov), reverse=True)) if fov else FOVS_DEG
    settings = RetrievalSettings(protocols, fovs, heading.known, headings_tried, shown.controls, shown.seed)
    training = every.split("train") if "train" in every.splits and "train" not in pairs.splits else None
    with console.Stages() as stages:
        report = evaluate_retrieval(pairs, models, settings, stages, training=training, against=other)
    shown.finish(report.to_json(), retrieval_tables, lambda out: save_plots(out, report.cells, report.references, report.set_name))


@app.command("objects")
@spread
def objects(
    folder: Folder,
    weights: Weights,
    shown: Shown,
    layout: Layout = None,
    split: Split = None,
    against: Against = None,
    device: Device = "auto",
) -> None:
    """Judge object models: the box of each clicked object, in pixels and in metres."""
    shown.check()
    from crossgeo.commands.eval_tables import objects_tables
    from crossgeo.training.datasets.layouts import read
    from crossgeo.training.evaluation.object_plots import save_object_plots
    from crossgeo.training.evaluation.objects import ObjectModel
    from crossgeo.training.evaluation.objects_report import evaluate_objects
    from crossgeo.training.pairs import ObjectSet

    device = devices.device_of(device)
    every = read(folder, layout)
    if not isinstance(every, ObjectSet):
        raise InputError(f"{folder}: {every.name} holds no clicked objects; judge it with `geo eval retrieval`")
    chosen = every.split(split or _split_of(every.splits, every.layout))
    models = [ObjectModel.load(name, device) for name in weights]
    other = ObjectModel.load(against, device) if against else None
    sizes = every.split("train") if "train" in every.splits else None
    with console.Stages() as stages:
        report = evaluate_objects(chosen, models, stages, sizes_from=sizes, against=other, controls=shown.controls, seed=shown.seed)
    shown.finish(report.to_json(), objects_tables, lambda out: save_object_plots(out, report))


@app.command("places")
@spread
def places(
    index: Annotated[Path, typer.Argument(metavar="INDEX", envvar="GEO_INDEX", help="The index.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="truth.geojson of the photos; they lie beside it or in photos/.")],
    shown: Shown,
    fov: Annotated[list[float] | None, typer.Option(min=1.0, max=359.0, help="Cut panoramas to this, too; may be repeated.")] = None,
    heading: Annotated[Heading, typer.Option(help="Whether questions give the heading.")] = Heading.BOTH,
    weights: Annotated[str, typer.Option(help="Place model: a name that `geo weights list` shows, or a file.")] = "egotr-s-drone",
    street_weights: Annotated[
        list[str] | None,
        typer.Option(
            help='The same for street photos; "auto", which is taken unless told, is what goes with --weights, "" none. '
            "Again for the same recipe trained from other seeds."
        ),
    ] = None,
) -> None:
    """Judge the whole engine: photos of known places, searched for in an index."""
    shown.check()
    from crossgeo.commands.eval_tables import places_tables
    from crossgeo.engine.search import GeoSearch
    from crossgeo.training.evaluation.engine_places import read_truth
    from crossgeo.training.evaluation.places_report import evaluate_places
    from crossgeo.training.evaluation.plots import save_plots

    first, *others = street_weights or ["auto"]
    if others and "" in (first, *others):
        raise UsageError('--street-weights "" is no weights for street photos; leave it out, or give it alone')
    truths = read_truth(truth)
    with GeoSearch.open(index, weights, None, street_weights=first or None) as search, console.Stages() as stages:
        searches = [search, *(search.with_street(name) for name in others)]
        report = evaluate_places(
            searches, truths, stages, fovs_deg=sorted(set(fov or ()), reverse=True), headings_known=heading.known,
            controls=shown.controls, seed=shown.seed,
        )  # fmt: skip
    shown.finish(report.to_json(), places_tables, lambda out: save_plots(out, report.cells, None, report.index))


def _split_of(splits: Sequence[str], layout: str) -> str:
    wanted = ("val",) if layout in ("cvusa", "cvact") else SPLITS
    return next((name for name in wanted if name in splits), splits[-1] if splits else "test")
