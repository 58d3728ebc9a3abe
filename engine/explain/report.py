"""The report of a batch: counts, distributions, a map, and a row for each photo with its pictures; written as it comes, published whole."""

from __future__ import annotations

import shutil
import tempfile
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from crossgeo import disk
from crossgeo.engine.explain.document import closing, opening, script
from crossgeo.engine.explain.html import Markup, tag
from crossgeo.engine.explain.overview import Marks
from crossgeo.engine.explain.report_row import HEADS, row
from crossgeo.engine.explain.report_summary import STATUSES, Summary, summary
from crossgeo.engine.output import Record
from crossgeo.engine.photo import Photo
from crossgeo.errors import LimitError, StoreError
from crossgeo.geodesy import from_lat_lon
from crossgeo.indexer.index import GeoIndex

THUMB_PX = 320  # photos need not be decoded larger
MOST_ROWS = 2000  # in one file; more are counted, and on the map

Point = tuple[float, float]


class Report:
    """A report being written: add the records of a batch in order, then `finish`. A context manager; without `finish` nothing is left.

    Rows wait in a file without a name beside the report; in memory are five numbers a photo.
    """

    def __init__(self, path: Path, index: GeoIndex, command: str | None = None, most_rows: int = MOST_ROWS) -> None:
        """Name the file and the index that the records are answers of; `command` is the line that makes them again."""
        self.path, self._index, self._command, self._most_rows = path, index, command, most_rows
        self._counts: Counter[str] = Counter()
        self._radii = {status: array("d") for status in STATUSES}
        self._scores = {status: array("d") for status in STATUSES}
        self._marks: dict[int, Marks] = defaultdict(Marks)  # by segment
        self._took = array("d")  # ms
        self._rows = 0
        self._spool: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._spool = tempfile.TemporaryFile(dir=self.path.parent)
        except OSError as error:
            raise self._full(error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._spool is not None:
            self._spool.close()

    def add(self, record: Record, read: Callable[[], Photo] | None, points: Sequence[Point] = ()) -> None:
        """Take one record; `read` reads its photo for the thumbnail, with `points` (full-size pixels) marked on it.

        A photo that cannot be read any more leaves its picture out. Raises LimitError when the disk is full.
        """
        assert self._spool is not None
        status = str(record.get("status", "error"))
        self._counts[status] += 1
        places = record.get("places") or []
        if places:
            best = places[0]
            segment = self._index.segment_of(best["tile"])
            self._radii[status].append(best["radius_m"])
            self._scores[status].append(best["score"])
            self._marks[segment.number].add(*from_lat_lon(segment.crs, best["lat"], best["lon"]), status)
        took = record.get("timings_ms") or {}
        self._took.append(float(took.get("total", 0.0)))
        if self._rows >= self._most_rows:
            return
        self._rows += 1
        try:
            self._spool.write(row(self._rows, record, read, points, self._index).encode())
        except OSError as error:
            raise self._full(error) from error

    def finish(self) -> None:
        """Write the file; it appears only when it is complete and on disk, in place of an older one. Raises LimitError."""
        assert self._spool is not None
        told = Summary(self._counts, self._radii, self._scores, dict(self._marks), self._took, self._rows, self._index, self._command)
        try:
            with disk.replacing(self.path) as temporary, temporary.open("wb") as file:
                file.write(f"{opening('Report of a batch', script())}{summary(told)}{_table()}".encode())
                self._spool.seek(0)
                shutil.copyfileobj(self._spool, file)
                file.write(f"</tbody></table></section></main>{closing(script())}".encode())
        except OSError as error:
            raise self._full(error) from error
        except StoreError as error:
            raise LimitError(f"{self.path}: cannot be written; look at the disk, or choose another place") from error

    def _full(self, error: OSError) -> LimitError:
        return LimitError(f"{self.path}: cannot be written ({error.strerror or error}); free some space or choose another place")


def _table() -> Markup:
    """The table up to its first row."""
    heads = [tag("th", name, scope="col", role="columnheader", data_sort=key) for name, key in HEADS]
    head = tag("thead", tag("tr", heads, role="row"), role="rowgroup")
    return Markup(f'<table class="answers" role="table" aria-labelledby="answers">{head}<tbody role="rowgroup">')
