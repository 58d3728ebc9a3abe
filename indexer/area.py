"""One segment in the making: the sources of one metric CRS, cut into blocks, then tiles, then descriptors, then moved into place.

Every step leaves journal pieces (journal.py) whose number and content depend on the plan alone, so an interrupted build ends like an
unbroken one. Threads cut the next blocks, and read the next tiles while a batch is described (ahead.py); all that is written is written by
the caller's own thread, in order.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.disk import replacing
from crossgeo.errors import InputError, StoreError
from crossgeo.indexer import files, grid
from crossgeo.indexer.ahead import ahead
from crossgeo.indexer.block_store import BlockStore, Mask, block_cells, encode_block, write_blocks
from crossgeo.indexer.described import Describe, Step, describe_tiles
from crossgeo.indexer.grid import BLOCK_PX, Bounds
from crossgeo.indexer.ground import Ground, Layer, pixels_of, seen
from crossgeo.indexer.journal import Journal
from crossgeo.indexer.manifest import IMAGERY_FILE, FileRecord, GridRecord, SegmentRecord, parse_segment, plain, segment_path
from crossgeo.indexer.places import carry_bounds, crs_text
from crossgeo.indexer.region import Region, mask_cells
from crossgeo.indexer.segment_files import file_record, is_whole, matches, move_in, seal, write_tiles
from crossgeo.indexer.source import Source, fill
from crossgeo.indexer.tiles import changed_tiles, choose_tiles
from crossgeo.indexer.vectors.structure import Budget

BLOCKS_PER_PIECE = 64
RECORD = struct.Struct("<iiI")


@dataclass(frozen=True)
class Between:
    """The imagery of an index that is there already, over and under the layer that is being made."""

    layer: int
    above: tuple[Layer, ...] = ()
    below: tuple[Layer, ...] = field(default=())


class Area:
    """The sources of one metric CRS on their way to a segment of `index`; earlier sources lie over later ones."""

    def __init__(
        self,
        number: int,
        index: Path,
        journal: Journal,
        crs: CRS,
        sources: Sequence[Source],
        numbers: GridRecord,
        masks: Sequence[Region] = (),
        between: Between | None = None,
    ) -> None:
        self.crs = crs
        self._between = between
        self._index = index
        self._journal = journal
        self._name = f"area-{number}"
        self._folder = journal.folder / self._name / "segment"
        self._sources = sources
        self._grid = numbers
        self._parts = [metric_parts(s, crs) for s in sources]
        self._boxes = np.asarray([[*p[:, :2].min(axis=0), *p[:, 2:].max(axis=0)] for p in self._parts])  # (sources, 4)
        self.blocks = grid.blocks_over(np.concatenate(self._parts), numbers.gsd_m)
        self._masked: Mapping[tuple[int, int], Mask] = mask_cells(masks, crs, numbers.gsd_m, self.blocks)
        self.tiles: NDArray[np.int32] = np.zeros((0, 2), np.int32)
        self._bounds: Bounds = (0.0, 0.0, 0.0, 0.0)
        self._block_count = 0

    def finished(self) -> SegmentRecord | None:
        """Return the segment's record where an earlier run finished it, moved into place; None where there is work to do."""
        data = self._journal.get_json(f"{self._name}/segment.json")
        if data is None:
            return None
        record = parse_segment(data)
        if is_whole(segment_path(self._index, record.name), record):
            return record
        if is_whole(self._folder, record):
            move_in(self._index, self._folder, record)
            return record
        return None

    # Blocks

    def cut_blocks(self, step: Step) -> None:
        """Resample the sources to blocks in the work folder's LMDB file, and choose the tiles; raise InputError where there are none."""
        path = self._folder / IMAGERY_FILE
        known = self._journal.get_json(f"{self._name}/blocks.json")
        if known is None or not matches(path, FileRecord(**known)):
            self._write_blocks(path, step)
            self._journal.put_json(f"{self._name}/blocks.json", asdict(file_record(path)))
        else:
            step(len(self.blocks))
        self._journal.drop(f"{self._name}/blocks")
        with BlockStore(path) as store:
            coverage = {block: block_cells(value) for block, value in store.items()}
            self._block_count, self._bounds = len(coverage), covered(coverage, self._grid.gsd_m)
            ground = self._ground(store)
            if self._between is None:
                self.tiles = choose_tiles(ground, coverage, self._grid)
            else:
                self.tiles = changed_tiles(ground, seen(Layer(store), self._between.above), self._grid)
        if self._block_count == 0 or (len(self.tiles) == 0 and self._between is None):
            raise InputError(self._no_tiles())

    def _no_tiles(self) -> str:
        names = ", ".join(str(s.path) for s in self._sources[:3])
        width, height = self._bounds[2] - self._bounds[0], self._bounds[3] - self._bounds[1]
        bare = self._grid.min_contrast is None
        shows, content = ("", "") if bare else (f" and a contrast of {self._grid.min_contrast:g}", " or --min-contrast")
        return (
            f"{names}: the valid imagery, {width:.0f} x {height:.0f} m, fills no tile of {self._grid.tile_m:g} m to a share of "
            f"{self._grid.min_valid:g}{shows}; give imagery of more ground, or lower --min-valid{content}"
        )

    def _write_blocks(self, path: Path, step: Step) -> None:
        pieces = [self.blocks[at : at + BLOCKS_PER_PIECE] for at in range(0, len(self.blocks), BLOCKS_PER_PIECE)]
        payloads = (self._journal.get(self._piece_name("blocks", number)) for number in range(len(pieces)))
        sizes = {number: len(payload) for number, payload in enumerate(payloads) if payload is not None}
        missing = deque(number for number in range(len(pieces)) if number not in sizes)
        with ahead(self._cut, [block for number in missing for block in pieces[number]]) as cut:
            for number, blocks in enumerate(pieces):
                if number not in sizes:
                    payload = b"".join(islice(cut, len(blocks)))
                    self._journal.put(self._piece_name("blocks", number), payload)
                    sizes[number] = len(payload)
                    missing.popleft()
                    self._close_all_but(self._sources_of(blocks + pieces[missing[0]] if missing else []))
                step(len(blocks))
        files.make_folder(path.parent)
        with replacing(path) as temporary:
            write_blocks(temporary, self._kept_blocks(len(pieces)), sum(sizes.values()), len(self.blocks))

    def _piece_name(self, kind: str, number: int) -> str:
        return f"{self._name}/{kind}/{number:06d}"

    def _kept_blocks(self, pieces: int) -> Iterator[tuple[tuple[int, int], bytes]]:
        for number in range(pieces):
            payload = self._journal.get(self._piece_name("blocks", number))
            if payload is None:
                raise StoreError(f"{self._journal.folder}: a piece of this build is gone; check the disk, then run the same command again")
            at = 0
            while at < len(payload):
                bx, by, size = RECORD.unpack_from(payload, at)
                at += RECORD.size + size
                yield (bx, by), payload[at - size : at]

    def _cut(self, block: tuple[int, int]) -> bytes:
        """Return a block as it stands in a piece; nothing where there is no imagery."""
        bounds = grid.block_bounds(*block, self._grid.gsd_m)
        rgb, valid = np.zeros((BLOCK_PX, BLOCK_PX, 3), np.uint8), np.zeros((BLOCK_PX, BLOCK_PX), bool)
        for number in self._touching(bounds):
            if valid.all():
                break
            fill(rgb, valid, *self._sources[number].read(self.crs, bounds, (BLOCK_PX, BLOCK_PX)))
        if block in self._masked:
            valid &= ~pixels_of(self._masked[block])
        if not valid.any():
            return b""
        value = encode_block(rgb, valid, self._grid.jpeg_quality)
        return RECORD.pack(*block, len(value)) + value

    def _touching(self, bounds: Bounds) -> list[int]:
        boxes = self._boxes
        touching = (boxes[:, 0] < bounds[2]) & (boxes[:, 2] > bounds[0]) & (boxes[:, 1] < bounds[3]) & (boxes[:, 3] > bounds[1])
        return [int(number) for number in np.flatnonzero(touching)]

    def _sources_of(self, blocks: Sequence[tuple[int, int]]) -> set[int]:
        return {number for block in blocks for number in self._touching(grid.block_bounds(*block, self._grid.gsd_m))}

    def _close_all_but(self, used: set[int]) -> None:
        """Close the sources of ground that was passed: thousands of files may not all be open at once."""
        for number, source in enumerate(self._sources):
            if number not in used:
                source.close()

    # Descriptors

    def describe(self, describe: Describe, batch: int, model: str, step: Step, budget: Budget) -> SegmentRecord:
        """Describe the tiles, write the segment's files, move it into place and return its record."""
        dim, search = 0, None
        if len(self.tiles):
            with BlockStore(self._folder / IMAGERY_FILE) as store:
                ground, pieces = self._ground(store), f"{self._name}/descriptors"
                found = describe_tiles(self._journal, pieces, ground, self.tiles, self._grid, describe, batch, model, step)
                dim, search = write_tiles(self._folder, found, self.tiles, budget)
        layer = 0 if self._between is None else self._between.layer
        record = seal(self._folder, crs_text(self.crs), self._bounds, self._block_count, len(self.tiles), dim, layer, search)
        self._journal.put_json(f"{self._name}/segment.json", plain(record))
        move_in(self._index, self._folder, record)
        return record

    def _ground(self, store: BlockStore) -> Ground:
        if self._between is None:
            return Ground([Layer(store)])
        return Ground([*self._between.above, Layer(store), *self._between.below])


def metric_parts(source: Source, crs: CRS) -> NDArray[np.float64]:
    """Return boxes (n, 4) in a metric CRS that hold all imagery of a source."""
    parts = source.parts()
    if len(parts) == 1:
        return np.asarray([carry_bounds(source.bounds, source.crs, crs)])
    columns = [(0, 1), (0, 3), (2, 1), (2, 3)]  # tiles are small: their edges run straight
    x, y = geodesy.transform(source.crs, crs, parts[:, [c[0] for c in columns]].ravel(), parts[:, [c[1] for c in columns]].ravel())
    x, y = x.reshape(-1, 4), y.reshape(-1, 4)
    return np.stack([x.min(axis=1), y.min(axis=1), x.max(axis=1), y.max(axis=1)], axis=1)


def covered(coverage: dict[tuple[int, int], NDArray[np.bool_]], gsd_m: float) -> Bounds:
    """Return the bounds in metres of the valid cells; a point where there are none."""
    cols, rows = [], []
    for (bx, by), cells in coverage.items():
        row, col = np.nonzero(cells)
        if len(row):
            cols += [bx * grid.CELLS + int(col.min()), bx * grid.CELLS + int(col.max()) + 1]
            rows += [by * grid.CELLS + int(row.min()), by * grid.CELLS + int(row.max()) + 1]
    if not cols:
        return 0.0, 0.0, 0.0, 0.0
    x_min, y_min, x_max, y_max = (round(n * grid.CELL_PX * gsd_m, 6) for n in (min(cols), -max(rows), max(cols), -min(rows)))
    return x_min, y_min, x_max, y_max
