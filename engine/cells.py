"""Descriptors of the cells of the 5 m step: the index's own where it has a tile just there, else kept ones, else made now and kept.

An index with a stride of 5 m has all of them, one with 15 m every ninth.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.describe import Describer
from crossgeo.engine.feature_cache import CELLS, FeatureCache
from crossgeo.indexer.index import GeoIndex, Segment

Cell = tuple[int, int]  # column, row of the fine grid: centred on (column * step_m, row * step_m)
Vector = NDArray[np.float32]  # (D,)
MEMORY_BYTES = 54 << 20  # about 16,000 cells
KEY_FORMAT = 2  # grows when the same words in a key come to mean other descriptors
_AT_ONCE = 8  # cells in every batch: torch's products differ in the last bit by how many rows they have
_SAME_M = 1e-6  # a cell and a tile whose centres are no farther apart are one


class CellDescriptors:
    """Describes cells of one index; what is kept may be shared with others, since keys say all that decides a descriptor."""

    def __init__(self, index: GeoIndex, describer: Describer, step_m: float, min_valid: float, kept: FeatureCache | None = None) -> None:
        """Cells are `step_m` apart; one with less imagery than `min_valid` of its pixels has no descriptor, unless it is a tile."""
        if kept is not None and kept.form != CELLS:
            raise ValueError(f"a cache of {kept.form.name} does not hold descriptors of cells")
        self.kept = kept or FeatureCache(MEMORY_BYTES, form=CELLS)
        self.from_index = 0  # cells whose descriptors the index had
        self._counting = Lock()
        self._index, self._describer, self._step_m, self._min_valid = index, describer, step_m, min_valid
        grid, identity = index.manifest.grid, asdict(describer.identity)
        made = [KEY_FORMAT, identity, describer.tiles_run_on, grid.gsd_m, grid.tile_m, grid.tile_px, step_m, min_valid]
        self._made_of = json.dumps(made, sort_keys=True)

    def describe(self, segment: Segment, cells: Sequence[Cell]) -> dict[Cell, Vector | None]:
        """Return the descriptor of each cell of a segment; None where there is too little imagery."""
        found = self._of_index(segment, cells)
        with self._counting:
            self.from_index += len(found)
        keys = {cell: self._key(segment, cell) for cell in cells if cell not in found}
        missing = []
        for cell, key in keys.items():
            row = self.kept.get(key)
            if row is not None and row.size in (0, self._index.manifest.dim):
                found[cell] = row.reshape(-1).astype(np.float32) if row.size else None
            else:
                missing.append(cell)
        if missing:
            for cell, made in self._made(segment, missing).items():
                found[cell] = made
                self.kept.put(keys[cell], np.zeros((0, 0, 0, 0), np.float32) if made is None else made.reshape(1, 1, 1, -1))
        return found

    def _of_index(self, segment: Segment, cells: Sequence[Cell]) -> dict[Cell, Vector | None]:
        strides = np.array(cells, np.float64).reshape(-1, 2) * (self._step_m / self._index.stride_m)
        tiles = np.rint(strides)
        same = np.flatnonzero((np.abs(strides - tiles) * self._index.stride_m <= _SAME_M).all(axis=1))
        ids = self._index.tiles_at(segment, tiles[same])
        rows = self._index.descriptors(ids[ids >= 0])
        # A row of zeros is one that nobody gave in time: such a cell is described like those that are no tiles.
        return {cells[k]: row for k, row in zip(same[ids >= 0].tolist(), rows, strict=True) if row.any()}

    def _made(self, segment: Segment, cells: Sequence[Cell]) -> dict[Cell, Vector | None]:
        centres = np.array(cells, np.float64) * self._step_m
        tiles, valid = self._index.read_windows(segment, centres, self._index.tile_m, self._index.tile_px)
        seen = valid.reshape(len(cells), -1).mean(axis=1) >= self._min_valid
        rows = self._described(tiles[seen])
        return {cell: next(rows).copy() if shown else None for cell, shown in zip(cells, seen, strict=True)}

    def _described(self, tiles: NDArray[np.uint8]) -> Iterator[Vector]:
        """Describe tiles so that none depends on how many others are missing, or answers would depend on what was asked before."""
        for start in range(0, len(tiles), _AT_ONCE):
            some = tiles[start : start + _AT_ONCE]
            yield from self._describer.tiles(some[np.arange(_AT_ONCE) % len(some)])[: len(some)]

    def _key(self, segment: Segment, cell: Cell) -> bytes:
        # A segment's name says what is in its files, whichever index it is of.
        return hashlib.sha256(f"{self._made_of} {segment.name} {cell[0]} {cell[1]}".encode()).digest()
