"""A batch from its first photo to its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from crossgeo.engine.batch.item import BatchItem
from crossgeo.engine.batch.journal import Journal
from crossgeo.engine.batch.progress import BatchProgress, BatchReport, Tally, status_of
from crossgeo.engine.output import Record, check_output, write_records
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import error_json
from crossgeo.engine.question import BatchOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import InputError, LimitError, UsageError

DECODE_AHEAD = 4  # photos held decoded before their turn
_ITEM_ERRORS = (InputError, LimitError, UsageError)  # the photo's own fault; a damaged index or missing weights stop the batch


def run_batch(
    search: GeoSearch,
    items: Sequence[BatchItem],
    out: Path | Sequence[Path],
    options: BatchOptions | None = None,
    overwrite: bool = False,
    progress: Callable[[BatchProgress], None] | None = None,
    each: Callable[[int, Record], None] | None = None,
) -> BatchReport:
    """Ask about every item and write the answers to each file of `out` in the items' order, in the format of its suffix.

    A run that is stopped, by Ctrl-C or `kill -9`, leaves `OUT.partial.jsonl` beside the first of them; the same call goes on from there and
    retries failed items. Without any `out` nothing is kept. `progress` is told after each item, and at once of those that are taken over;
    `each(number, record)` gets every record, in the items' order, as soon as it and all before it are there; what either raises stops the
    batch as Ctrl-C does. Returns how many there were, how many failed and how many were taken over.

    Raises UsageError for options that fit no photo, or when an `out` exists and `overwrite` is not set, MismatchError when the journal is
    of another index, model or question, LimitError for a full disk; a photo that cannot be read raises nothing: its record has `error`.

    ```python
    with GeoSearch.open("city.geo") as search:
        report = run_batch(search, items, Path("results.geojson"))
    print(f"{report.total - report.failed} of {report.total} photos answered")
    ```
    """
    options = options or BatchOptions()
    o = options
    filters = o.bounds, o.polygon, o.vintage
    search.check(o.top, o.heading_deg, o.fov_deg, o.height_m, o.near, o.radius_m, o.use_exif_position, o.tilt_deg, o.kind, *filters)
    outs = (out,) if isinstance(out, Path) else tuple(out)
    for path in outs:
        check_output(path)
        if path.exists() and not overwrite:
            raise UsageError(f"{path}: exists already; choose another name or ask to overwrite it")
        if not path.parent.is_dir():
            raise InputError(f"{path.parent}: no such folder to write into")
    journal = Journal(outs[0].with_name(f"{outs[0].name}.partial.jsonl") if outs else None, _identity(search, options))
    with journal:
        keys = [json.dumps(item.key()) for item in items]
        tally = Tally()
        todo = []
        for item, key in zip(items, keys, strict=True):
            if key in journal.done:
                tally.add(journal.done[key], resumed=True)
            else:
                todo.append((item, key))
        if progress and len(todo) < len(items):
            progress(tally.progress(len(items)))
        for number, key in enumerate(keys):
            if key not in journal.done:
                break
            if each:
                each(number, journal.read(key))
        else:
            number = len(keys)
        for item, key, photo in _decoded(todo):
            record = _ask(search, item, photo, options)
            tally.add(status_of(record))
            journal.add(key, record)
            if progress:
                progress(tally.progress(len(items)))
            while number < len(keys) and keys[number] in journal:
                if each:
                    each(number, journal.read(keys[number]))
                number += 1
        for path in outs:
            write_records(path, (journal.read(key) for key in keys))
        journal.remove()
    last = tally.progress(len(items))
    return BatchReport(len(items), last.failed, last.resumed, outs, last)


def _ask(search: GeoSearch, item: BatchItem, photo: Future[Photo], options: BatchOptions) -> Record:
    try:
        if item.fault is not None:
            raise item.fault
        asked = asdict(item.options(options))
        record = search.query(photo.result(), point=item.points[0] if item.points else None, **asked).to_json()
    except _ITEM_ERRORS as error:
        record = error_json(item.name, error)
    return {"photo": record.pop("photo"), **item.about, **record}


def _decoded(todo: Sequence[tuple[BatchItem, str]]) -> Iterator[tuple[BatchItem, str, Future[Photo]]]:
    """Yield items with their photos, read by a thread a few items ahead."""
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        waiting: list[tuple[BatchItem, str, Future[Photo]]] = []
        try:
            for item, key in todo:
                waiting.append((item, key, pool.submit(Photo.read, item.path, name=item.name)))
                if len(waiting) > DECODE_AHEAD:
                    yield waiting.pop(0)
            while waiting:
                yield waiting.pop(0)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _identity(search: GeoSearch, options: BatchOptions) -> Record:
    return {"journal": 4, "index": search.index.manifest.hash, "models": search.models, "query": json.loads(json.dumps(asdict(options)))}
