"""One segment in the making: the sources of one metric CRS, cut into blocks, then tiles, then descriptors, then moved into place.

Every step leaves pieces whose number and content depend on the plan alone, so an interrupted build ends like an unbroken one. Who makes
them, this process or a cluster, is a `pieces.Maker`; what is made of them is made here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.disk import replacing
from crossgeo.errors import InputError
from crossgeo.indexer import files, grid
from crossgeo.indexer.block_store import BlockStore, block_cells, write_blocks
from crossgeo.indexer.cutting import Cutter, unpacked
from crossgeo.indexer.described import Step
from crossgeo.indexer.grid import Bounds
from crossgeo.indexer.ground import Block, Ground, Layer, seen
from crossgeo.indexer.journal import Journal
from crossgeo.indexer.manifest import IMAGERY_FILE, FileRecord, GridRecord, SegmentRecord, parse_segment, plain, segment_path
from crossgeo.indexer.pieces import Cut, Maker, ResizedError, Site
from crossgeo.indexer.places import carry_bounds, crs_text
from crossgeo.indexer.region import Region, mask_cells
from crossgeo.indexer.segment_files import file_record, is_whole, matches, move_in, seal, write_rows, write_search
from crossgeo.indexer.source import Source
from crossgeo.indexer.tiles import changed_tiles, choose_tiles
from crossgeo.indexer.vectors.structure import Budget


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
        maker: Maker,
        crs: CRS,
        sources: Sequence[Source],
        numbers: GridRecord,
        masks: Sequence[Region] = (),
        between: Between | None = None,
    ) -> None:
        self.crs = crs
        self._between = between
        self._index, self._journal, self._maker = index, journal, maker
        self._name = f"area-{number}"
        self._folder = journal.folder / self._name / "segment"
        self._sources = sources
        self._grid = numbers
        parts = [metric_parts(s, crs) for s in sources]
        boxes = np.asarray([[*p[:, :2].min(axis=0), *p[:, 2:].max(axis=0)] for p in parts])  # (sources, 4)
        self.blocks = grid.blocks_over(np.concatenate(parts), numbers.gsd_m)
        cutter = Cutter(crs, sources, boxes, numbers, mask_cells(masks, crs, numbers.gsd_m, self.blocks))
        self._site = Site(self._name, cutter, self.blocks)
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

    def describe_early(self) -> None:
        """Describe what can be while another thread cuts the blocks, until they are cut; what an addition changes shows only then."""
        if self._between is None:
            self._maker.describe_early(self._site)

    def cut_blocks(self, step: Step) -> None:
        """Resample the sources to blocks in the work folder's LMDB file, and choose the tiles; raise InputError where there are none."""
        try:
            self._cut_blocks(step)
        finally:
            self._maker.cut_ended(self._site)

    def _cut_blocks(self, step: Step) -> None:
        path = self._folder / IMAGERY_FILE
        known = self._journal.get_json(f"{self._name}/blocks.json")
        if known is None or not matches(path, FileRecord(**known)):
            self._write_blocks(path, step)
            self._journal.put_json(f"{self._name}/blocks.json", asdict(file_record(path)))
        else:
            step(len(self.blocks))
        self._maker.cut_kept(self._site)
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
        files.make_folder(path.parent)
        try:
            self._write_pieces(path, self._maker.cut(self._site, step), step)
        except ResizedError:
            self._write_pieces(path, self._maker.cut(self._site, lambda _: None), step)

    def _write_pieces(self, path: Path, cut: Cut, step: Step) -> None:
        with replacing(path) as temporary:
            write_blocks(temporary, _blocks(cut, step), cut.size_bytes, len(self.blocks))

    # Descriptors

    def describe(self, step: Step, budget: Budget) -> SegmentRecord:
        """Describe the tiles, write the segment's files, move it into place and return its record."""
        dim, search = 0, None
        if len(self.tiles):
            with BlockStore(self._folder / IMAGERY_FILE) as store:
                ground, write = self._ground(store), partial(write_rows, self._folder, tiles=self.tiles)
                dim = self._maker.describe(self._site, ground, self.tiles, step, write)
            search = write_search(self._folder, budget)
        layer = 0 if self._between is None else self._between.layer
        record = seal(self._folder, crs_text(self.crs), self._bounds, self._block_count, len(self.tiles), dim, layer, search)
        self._journal.put_json(f"{self._name}/segment.json", plain(record))
        move_in(self._index, self._folder, record)
        return record

    def _ground(self, store: BlockStore) -> Ground:
        if self._between is None:
            return Ground([Layer(store)])
        return Ground([*self._between.above, Layer(store), *self._between.below])


def _blocks(cut: Cut, step: Step) -> Iterator[tuple[Block, bytes]]:
    """Yield all blocks; between pieces the step, by which whoever is told may end it, says that none more are cut."""
    for piece in cut.pieces:
        yield from unpacked(piece)
        step(0)


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
