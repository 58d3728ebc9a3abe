"""The rows of one area of an index, held by a process of its own: what it is told, the files it searches, and what it answers.

A shelf is a folder that all who hold areas see. An area lies there in a folder named by its content: `recipe` says of which rows of which
segments it is made, `made/` holds those rows and what searches them, as a segment's folder does, with `made.json`, their checksums. Who
comes first makes it; others, and those who come again, find it whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from crossgeo import disk
from crossgeo.errors import GeoError, StoreError
from crossgeo.indexer import files
from crossgeo.indexer.descriptor_store import DescriptorRows, read_tiles
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import TILES_FILE, FileRecord, canonical, check_file, segment_path
from crossgeo.indexer.partition import Area
from crossgeo.indexer.segment_files import file_record, write_tiles
from crossgeo.indexer.shelf_use import remove_abandoned
from crossgeo.indexer.vector_index import VectorIndex
from crossgeo.indexer.vectors import Ids, Vectors
from crossgeo.indexer.vectors.ivf import PIECE
from crossgeo.indexer.vectors.structure import USUAL, Budget, choose_structure

_VERSION = 1
_RECIPE, _MADE, _RECORD = "recipe", "made", "made.json"


@dataclass(frozen=True)
class AreaFiles:
    """Where an area's rows come from and where they lie, as a process that holds them is told."""

    index: str  # the index's folder
    shelf: str
    name: str
    memory_bytes: int  # that a search of it reads, at most

    @property
    def folder(self) -> Path:
        """Its folder on the shelf."""
        return Path(self.shelf, self.name)


def put_on_shelf(index: GeoIndex, area: Area, shelf: Path, use: Callable[[str], None] | None = None) -> AreaFiles:
    """Say on a shelf of what an area is made, and return where; raise LimitError or InputError where that cannot be written.

    `use` is called with its name first, to see to it that nobody removes it (`ShelfUse.add`).
    """
    zone, first_id = index.zones[area.segment], index.segments[area.segment].first_id
    rows, part_of = area.ids - first_id, np.zeros(len(area.ids), np.int64)
    if zone.part_of is not None and zone.row_of is not None:
        part_of, rows = zone.part_of[rows].astype(np.int64), zone.row_of[rows]
    # An index that is searched exactly stays so, however large its areas are.
    exact = all(part.record.search is None for part in zone.parts)
    used = np.unique(part_of)
    head = {
        "version": _VERSION, "segments": [zone.parts[number].record.name for number in used.tolist()], "rows": len(rows), "exact": exact,
    }  # fmt: skip
    recipe = canonical(head) + b"\n" + np.stack([np.searchsorted(used, part_of), rows]).astype("<i8").tobytes()
    name = "a-" + hashlib.sha256(recipe).hexdigest()[:32]
    told = AreaFiles(str(index.path.resolve()), str(shelf.resolve()), name, _structure_bytes(len(rows), index.manifest.dim, exact))
    if use is not None:
        use(name)
    if not (told.folder / _RECIPE).exists():
        files.make_folder(shelf)
        part = shelf / f"{name}.{uuid.uuid4().hex}.part"
        files.make_folder(part)
        disk.write(part / _RECIPE, recipe)
        _move_in(part, told.folder, _RECIPE)
    return told


def _structure_bytes(rows: int, dim: int, exact: bool) -> int:
    return choose_structure(rows, dim, _budget(exact)).memory_bytes


def _budget(exact: bool) -> Budget:
    return Budget(recall=1.0) if exact else USUAL


def open_area(told: AreaFiles) -> VectorIndex:
    """Open the rows of an area, which are made first where nobody has; raise StoreError, naming the file, where the index is damaged."""
    made = told.folder / _MADE
    if not _is_whole(made):
        if made.exists():  # damaged, and made of what is there
            spoiled = told.folder / f"{_MADE}.{uuid.uuid4().hex}.part"
            disk.rename(made, spoiled)
            files.remove(spoiled)
        _make(told)
    return VectorIndex(made)


def search_area(held: VectorIndex, queries: Vectors, k: int, rows: Ids | None) -> tuple[Vectors, Ids]:
    """Return scores and rows (Q, K) of the best of an area's rows, or of some of them (n,), rising."""
    return held.search(queries, k) if rows is None else held.search_among(queries, k, rows)


def area_descriptors(held: VectorIndex, rows: Ids) -> Vectors:
    """Return the descriptors (n, D) of some of an area's rows."""
    return held.vectors(rows)


def area_rows(held: VectorIndex) -> int:
    """Return how many rows an area has: whether anybody answers."""
    return len(held)


def _make(told: AreaFiles) -> None:
    rows = _Picked(told)
    remove_abandoned(told.folder)
    part = told.folder / f"{_MADE}.{uuid.uuid4().hex}.part"
    files.make_folder(part)
    try:
        write_tiles(part, rows.pieces(), rows.tiles(), _budget(rows.exact))
        records = {path.name: asdict(file_record(path)) for path in files.listing(part)}
        disk.write(part / _RECORD, canonical({"version": _VERSION, "files": records}))
        _move_in(part, told.folder / _MADE, _RECORD)
    except BaseException:
        with suppress(GeoError):
            files.remove(part)
        raise


def _move_in(part: Path, target: Path, last: str) -> None:
    """Give a finished folder its name, unless another process was first."""
    try:
        files.move_folder(part, target)
    except StoreError:
        if not (target / last).exists():
            raise
        files.remove(part)


def _is_whole(made: Path) -> bool:
    """Whether an area's files are there as they were written. Descriptors, of which few are read, have checksums of their own inside."""
    try:
        document = json.loads(files.read(made / _RECORD))
        if document["version"] != _VERSION:
            return False
        for name, record in document["files"].items():
            if name != TILES_FILE:
                check_file(made / name, FileRecord(**record))
            elif files.check_readable(made / name) != record["bytes"]:
                return False
    except (StoreError, ValueError, KeyError, TypeError):
        return False
    return True


class _Picked:
    """The rows that a recipe names, read from the segments' files."""

    def __init__(self, told: AreaFiles) -> None:
        path = told.folder / _RECIPE
        recipe = files.read(path)
        if "a-" + hashlib.sha256(recipe).hexdigest()[:32] != told.name:
            raise StoreError(f"{path} is damaged; remove {told.folder}, which is made again when the index is served next")
        head, _, body = recipe.partition(b"\n")
        told_of = json.loads(head)
        self.exact = bool(told_of["exact"])
        self._part_of, self._rows = np.frombuffer(body, "<i8").astype(np.int64).reshape(2, -1)
        self._paths = [segment_path(Path(told.index), name) / TILES_FILE for name in told_of["segments"]]

    def pieces(self) -> Iterator[Vectors]:
        """Yield the descriptors, piece by piece."""
        for start in range(0, len(self._rows), PIECE):
            part_of, rows = self._part_of[start : start + PIECE], self._rows[start : start + PIECE]
            found: Vectors | None = None
            for number in np.unique(part_of).tolist():
                mine = np.flatnonzero(part_of == number)
                with DescriptorRows(self._paths[number]) as stored:
                    some = stored.take(rows[mine])
                found = np.empty((len(rows), some.shape[1]), np.float32) if found is None else found
                found[mine] = some
            assert found is not None
            yield found

    def tiles(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        """Return the tiles (n, 2) that the rows describe."""
        out = np.empty((len(self._rows), 2), np.int32)
        for number, path in enumerate(self._paths):
            mine = np.flatnonzero(self._part_of == number)
            out[mine] = read_tiles(path)[self._rows[mine]]
        return out
