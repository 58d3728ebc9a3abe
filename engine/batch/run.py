"""A batch from its first photo to its files."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from crossgeo.engine.batch.here import Here
from crossgeo.engine.batch.identity import of_journal
from crossgeo.engine.batch.item import BatchItem
from crossgeo.engine.batch.journal import DEADLY, Journal, beside, holds, was_publishing
from crossgeo.engine.batch.pipeline import Ask, Task, record_of
from crossgeo.engine.batch.progress import BatchProgress, BatchReport, Tally, status_of
from crossgeo.engine.batch.sources import items_of
from crossgeo.engine.batch.spread import Spread
from crossgeo.engine.decoder import Decoder
from crossgeo.engine.output import Record, check_outputs, write_records
from crossgeo.engine.question import BatchOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.sequences import Around
from crossgeo.errors import GeoError, InputError

Again = Callable[[Mapping[int, Around]], dict[int, Record]]
"""Asks about items by number, each around a place; gives their records."""


class Answers(Protocol):
    """Where items are answered: `Pipeline` in this process, `Sharded` by the workers of a cluster."""

    def run(self, tasks: Iterator[Task | None]) -> Iterator[tuple[Task, Record]]:
        """Yield each item's record as it is done; `tasks` yields None while no further item has come yet. Raises Stopped."""
        ...


def run_batch(
    search: GeoSearch,
    items: str | Path | Iterable[BatchItem | None],
    out: str | Path | Sequence[str | Path],
    options: BatchOptions | None = None,
    overwrite: bool = False,
    progress: Callable[[BatchProgress], None] | None = None,
    each: Callable[[int, Record], None] | None = None,
    *,
    finish: Callable[[list[Record], Again], list[Record]] | None = None,
    after: Callable[[Answered], None] | None = None,
    keep_journal: bool = False,
    decoder: Decoder | None = None,
    ask: Ask | None = None,
    workers: int | None = None,
    stop: threading.Event | None = None,
    spread: Spread | None = None,
    judged: bool = True,
) -> BatchReport:
    """Ask about every photo and write the answers to each file of `out` in the photos' order, in the format of its suffix.

    `items` names a folder of photos, a list of them (CSV, Parquet, JSON lines), a glob pattern or one photo, or holds the items; of an
    iterator items are taken as there is room for them, None saying that there is none yet. A run that is stopped, by Ctrl-C or `kill -9`,
    leaves `OUT.partial.jsonl` beside the first output; the same call, perhaps with more items, goes on from there and retries what failed.
    With `keep_journal` that file stays, so that a longer list may follow a finished one; where it does not matter how sure the answers are
    said to be, not `judged`, it serves whatever calibration the index has. Without any `out` nothing is kept.

    `progress` is told after each item, and at once of those that are taken over; `each(number, record)` gets every record, in the items'
    order, as soon as it and all before it are there; what either raises stops the batch. `finish` may change the records before they are
    written, and ask about photos that have points again, each around a place; `after` gets each item with its record once all outputs are
    there. `decoder` and `ask` serve several batches at once, in place of an own decoder and `workers` over the search; with `spread` the
    workers of a cluster answer, in place of all these. Setting `stop` ends the batch with `Stopped` once the questions that are open are
    answered.

    Raises UsageError for options that fit no photo, or when an `out` exists and `overwrite` is not set, MismatchError when the journal is
    of another index, model or question, LockedError when another process writes it, LimitError for a full disk. A photo that cannot be
    read raises nothing: its record has `error`.

    ```python
    with GeoSearch.open("city.geo") as search:
        report = run_batch(search, "photos/", "results.geojson")
    print(report.counts.located, "of", report.total)
    ```
    """
    options = options or BatchOptions()
    _check(search, options)
    outs = tuple(Path(one) for one in ((out,) if isinstance(out, str | Path) else out))
    check_outputs(outs, overwrite or was_publishing(outs))
    if isinstance(items, str | Path):
        items = items_of([str(items)])
    journal = Journal(beside(outs), of_journal(search, options, judged))
    with journal, ExitStack() as opened:
        here = opened.enter_context(Here(search, workers, decoder, ask)) if spread is None else None

        def answers(asked: BatchOptions, count: int | None, begin: Callable[[Task], None], died: Callable[[Task], None]) -> Answers:
            if spread is not None:
                return spread.place(search, asked, count, died, stop)
            assert here is not None
            return here.pipeline(asked, begin, stop)

        def again(places: Mapping[int, Around]) -> dict[int, Record]:
            """Ask about photos that have points around other places, in the same way; nothing of it is kept in the journal."""
            numbers = [number for number in places if keeper.items[number].points]
            tasks = []
            for count, number in enumerate(numbers):
                at = places[number]
                item = replace(keeper.items[number], near=(at.lat, at.lon), radius_m=at.radius_m)
                tasks.append(Task(count, item, keeper.keys[number]))
            asking = answers(replace(options, anyway=True), len(tasks), _ignored, _ignored)
            return {numbers[task.number]: record for task, record in asking.run(iter(tasks))} if tasks else {}

        keeper = _Keeper(journal, items, progress, each)
        count = len(items) if isinstance(items, Sequence) else None
        first = answers(options, count, lambda task: journal.begin(task.key, task.alone), lambda task: journal.bury(task.key))
        try:
            for task, record in first.run(keeper.tasks()):
                keeper.keep(task, record)
            answered = Answered(keeper.items, keeper.keys, journal)
            if finish is not None:
                answered.records = finish(list(answered.all_records()), again)
        except BaseException:
            with suppress(GeoError):  # what went wrong first is what the user should read
                journal.stop()
            raise
        journal.publish(True)
        for path in outs:
            write_records(path, answered.all_records())
        journal.publish(False)
        if after is not None:
            after(answered)
        if not keep_journal:
            journal.remove()
    last = keeper.tally.progress(len(keeper.keys))
    return BatchReport(last.done, last.failed, last.resumed, outs, last)


def answers_of_others(out: Path, search: GeoSearch, judged: bool = True) -> Path | None:
    """Return the journal beside an output where it is of another index, other models or another program, so that `run_batch` refuses it."""
    path = beside((out,))
    return None if path is None or holds(path, of_journal(search, BatchOptions(), judged)) else path


class Answered:
    """A finished batch's items and their records, in order, as often as they are asked for."""

    def __init__(self, items: Sequence[BatchItem], keys: Sequence[str], journal: Journal) -> None:
        self._items, self._keys, self._journal = items, keys, journal
        self.records: list[Record] | None = None  # where they are no longer the journal's

    def __iter__(self) -> Iterator[tuple[BatchItem, Record]]:
        return zip(self._items, self.all_records(), strict=True)

    def all_records(self) -> Iterator[Record]:
        """Yield the records."""
        return map(self._journal.read, self._keys) if self.records is None else iter(self.records)


class _Keeper:
    """Which items are done: takes over what the journal has, keeps what comes, hands on what is there in order."""

    def __init__(
        self, journal: Journal, items: Iterable[BatchItem | None], progress: Callable[[BatchProgress], None] | None,
        each: Callable[[int, Record], None] | None,
    ) -> None:  # fmt: skip
        self.items: list[BatchItem] = []  # that came so far, in their order
        self.keys: list[str] = []  # theirs
        self.tally = Tally()
        self._journal, self._source, self._progress, self._each = journal, items, progress, each
        self._known = len(items) if isinstance(items, Sequence) else 0
        self._told = 0  # how many records were handed to `each`

    def tasks(self) -> Iterator[Task | None]:
        """Yield what is left to ask about; None while no further item has come."""
        resumed = False
        for item in self._source:
            if item is None:
                yield None
                continue
            number, key = len(self.keys), json.dumps(item.key())
            self.items.append(item)
            self.keys.append(key)
            status, deaths = self._journal.status(key), self._journal.deaths(key)
            if status is not None:
                self.tally.add(status, resumed=True)
                resumed = True
                continue
            if resumed:
                self._tell()
                resumed = False
            if deaths is not None and deaths >= DEADLY:
                why = InputError(f"{item.path}: the program ended {deaths} times while it answered this photo alone; leave it out")
                self.keep(Task(number, item, key), record_of(item, None, why))
            else:
                yield Task(number, item, key, alone=deaths is not None)
        if resumed:
            self._tell()

    def keep(self, task: Task, record: Record) -> None:
        """Keep an item's record."""
        self._journal.add(task.key, record)
        self.tally.add(status_of(record))
        self._tell()

    def _tell(self) -> None:
        if self._progress:
            self._progress(self.tally.progress(max(self._known, len(self.keys))))
        while self._each and self._told < len(self.keys) and self._journal.status(self.keys[self._told]) is not None:
            self._each(self._told, self._journal.read(self.keys[self._told]))
            self._told += 1


def _ignored(task: Task) -> None:
    """Keep nothing of a task."""


def _check(search: GeoSearch, o: BatchOptions) -> None:
    filters = o.bounds, o.polygon, o.vintage
    search.check(o.top, o.heading_deg, o.fov_deg, o.height_m, o.near, o.radius_m, o.use_exif_position, o.tilt_deg, o.kind, *filters)
