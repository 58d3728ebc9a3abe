"""`geo batch`: many photos, a file or a stream of answers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossgeo.commands import console, outputs
from crossgeo.commands.cluster_options import Spreading
from crossgeo.commands.exif_options import Exifs
from crossgeo.commands.options import Asked, spread
from crossgeo.commands.repeat import command_line
from crossgeo.commands.run_options import Running
from crossgeo.commands.sequence_options import Driven, smoothed
from crossgeo.commands.stopping import stopping
from crossgeo.errors import PartialError, UsageError

if TYPE_CHECKING:
    from crossgeo.engine.batch import Answered, BatchProgress, BatchReport, Spread
    from crossgeo.engine.runtime.choose import RuntimeOptions
    from crossgeo.indexer.index import GeoIndex

STDIO = "-"
WORTH_BUILDING = 20  # photos: engines take about a minute to build, once, and save some seconds a photo

Photos = Annotated[
    list[str],
    typer.Argument(
        metavar="PHOTOS",
        help="Folders, photos, glob patterns, and lists (.csv, .parquet, .jsonl, .txt); `-` reads paths or JSON lines from stdin.",
    ),
]
Output = Annotated[
    list[Path],
    typer.Option(
        "--output",
        "-o",
        help="File of answers; .geojson, .gpkg, .parquet, .csv, .kml, .gpx or .jsonl chooses the format, `-` is JSON lines on stdout. "
        "May be repeated.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files of answers.")]
KeepJournal = Annotated[
    bool, typer.Option("--keep-journal", help="Keep what was answered beside the output, so that a longer list only adds to it.")
]
ReportTo = Annotated[Path | None, typer.Option(help="Save a page (.html) that shows all answers with their pictures.")]
Workers = Annotated[int | None, typer.Option(min=1, max=256, help="Photos answered at once; as many as processors unless told.")]


@spread
def batch(
    context: typer.Context,
    photos: Photos,
    output: Output,
    asked: Asked,
    running: Running,
    exifs: Exifs,
    driven: Driven,
    spreading: Spreading,
    overwrite: Overwrite = False,
    keep_journal: KeepJournal = False,
    workers: Workers = None,
    report: ReportTo = None,
) -> None:
    """Locate many photos; one bad photo never stops it, and the same command goes on after an interruption."""
    options, writing = asked.options(), exifs.options()
    to = Outputs.of(output, overwrite, keep_journal)
    drives = driven.options(to.stdout, overwrite)
    if report is not None:
        outputs.check_page(report, "--report")
    from crossgeo.engine.batch import Spread, Stopped, items_from_lines, items_of, run_batch

    items: Any
    if STDIO in photos:
        if len(photos) > 1:
            raise UsageError("`-` reads all photos from stdin; give it alone")
        items, many = items_from_lines(console.stdin()), True
    else:
        items = items_of(photos, console.say)
        many = len(items) >= WORTH_BUILDING

    def after(answered: Answered) -> None:
        """What is made of a finished batch beside its outputs, which are there by now."""
        driven.write(record for _, record in answered)
        if report is not None:
            _show(report, answered, search.index, command_line(context))
        if writing is not None:
            from crossgeo.commands.exif import say_tally
            from crossgeo.engine.geotag import write_all

            tally = write_all(((item.path, record) for item, record in answered), writing)
            say_tally(tally.failures, tally.words)

    runtime, theirs = _runtimes(running, spreading, many)
    with ExitStack() as opened:
        spread = None
        if (cluster := spreading.open(workers, theirs.device)) is not None:
            elsewhere = asked.opener(asked.index.absolute(), theirs)
            spread = Spread(opened.enter_context(cluster), elsewhere, gpus=float(theirs.device != "cpu"))
        search = opened.enter_context(asked.open(runtime))
        shown = opened.enter_context(console.Progress("locating", "photos"))
        last: list[BatchProgress] = []

        def show(at: BatchProgress) -> None:
            last[:] = [at]
            shown(at.done, at.total, words(at) + ("" if spread is None else f"; {at_work(spread)}"))

        try:
            with stopping() as stop:
                done = run_batch(
                    search, items, to.files, options, overwrite, show, to.each, after=after, keep_journal=keep_journal, workers=workers,
                    stop=stop, spread=spread,
                    finish=None if drives is None else lambda records, again: smoothed(records, drives, again),
                )  # fmt: skip
        except Stopped:
            raise KeyboardInterrupt(to.interrupted(last[0].done if last else 0)) from None
        asked.say_trouble(search)
    if spread is not None:
        for line in by_node(spread):
            console.say(line)
    _end(done, to)


def _runtimes(running: Running, spreading: Spreading, many: bool) -> tuple[RuntimeOptions, RuntimeOptions]:
    """Return how models run in this process, and in the workers of a cluster."""
    if spreading.cluster in {None, "local"}:
        own = running.options(build=many or spreading.cluster is not None)
        return own, replace(own, say=None)
    theirs = replace(running.elsewhere(), say=None)
    return replace(theirs, runtime="torch", precision="auto", device="cpu"), theirs  # this process answers nothing


@dataclass(frozen=True)
class Outputs:
    """Where answers go."""

    files: tuple[Path, ...]
    stdout: bool

    @classmethod
    def of(cls, given: list[Path], overwrite: bool, keep_journal: bool) -> Outputs:
        """Look at what was asked for before any model is loaded; raise UsageError or InputError for what cannot be written."""
        from crossgeo.engine.batch import was_publishing
        from crossgeo.engine.output import check_outputs

        files = tuple(path for path in given if str(path) != STDIO)
        for path in files:
            outputs.check_file(path, "--output")
        check_outputs(files, overwrite or was_publishing(files))
        if keep_journal and not files:
            raise UsageError("--keep-journal keeps the journal beside a file of answers; give one with --output")
        return cls(files, len(files) < len(given))

    @property
    def each(self) -> Callable[[int, dict[str, Any]], None] | None:
        """What takes each record as it comes."""
        return _print_now if self.stdout else None

    def interrupted(self, done: int) -> str:
        """Return what to say where the batch was interrupted after `done` photos."""
        if not self.files:
            return f"interrupted after {done} photos, whose answers went to stdout; the same command begins anew"
        kept = f"{self.files[0]}.partial.jsonl"
        return f"interrupted; the answers of {done} photos are kept in {kept}, and the same command goes on from there"


def _show(page: Path, answered: Answered, index: GeoIndex, command: str) -> None:
    """Save the page of a batch."""
    from functools import partial

    from crossgeo.engine.explain import THUMB_PX, Report
    from crossgeo.engine.photo import Photo

    with Report(page, index, command) as report:
        for item, record in answered:
            report.add(record, partial(Photo.read, item.path, long_px=THUMB_PX), item.points)
        report.finish()
    console.say(f"page: {page}")


def words(at: BatchProgress) -> str:
    """Return how a batch goes, for people: how its photos came out, and when it will be done."""
    counts = (
        ("located", at.located), ("ambiguous", at.ambiguous), ("low confidence", at.low_confidence), ("outside coverage", at.outside),
        ("failed", at.failed),
    )  # fmt: skip
    said = ", ".join(f"{count} {name}" for name, count in counts if count or name in ("located", "ambiguous", "failed"))
    if not at.eta_s:
        return said
    return f"{said}; done at {time.strftime('%H:%M' if at.eta_s < 36_000 else '%a %H:%M', time.localtime(time.time() + at.eta_s))}"


def at_work(spread: Spread) -> str:
    """Return who is at work, for people."""
    return _many(spread.workers, "worker") + (f" on {len(spread.nodes)} nodes" if len(spread.nodes) > 1 else "")


def by_node(spread: Spread) -> list[str]:
    """Return a line for each node, for people: how many photos it answered, how quickly, and whether workers ended there over a photo."""
    lines = []
    for name, node in sorted(spread.nodes.items()):
        pace = f", {node.seconds / node.photos:.2f} s of a worker each" if node.photos else ""
        ended = f"; {_many(node.given_up, 'photo')} ended the workers that answered" if node.given_up else ""
        lines.append(f"{name}: {_many(node.photos, 'photo')}{pace}{ended}")
    return lines


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _print_now(_: int, record: dict[str, Any]) -> None:
    console.print_json(record)
    sys.stdout.flush()


def _end(report: BatchReport, to: Outputs) -> None:
    """Say how it ended; raise PartialError where photos failed."""
    where = ", ".join([*map(str, to.files), *(["stdout"] if to.stdout else [])])
    before = f", {report.resumed} of them by an earlier run" if report.resumed else ""
    console.say(f"{where}: {report.total - report.failed} of {report.total} photos answered{before}: {words(report.counts)}")
    if report.failed:
        tell = "say" if len(to.files) + to.stdout > 1 else "says"
        raise PartialError(f"{report.failed} of {report.total} photos failed; {where} {tell} why beside each")
