"""What a build would take, told before anything is built: tiles, blocks, bytes and time, from bounds and a sample that is really cut."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.errors import InputError, UsageError
from crossgeo.indexer import grid
from crossgeo.indexer.ahead import ahead
from crossgeo.indexer.area import metric_parts
from crossgeo.indexer.block_store import cells_of, encode_block
from crossgeo.indexer.build import BuildOptions, grid_of, group
from crossgeo.indexer.described import Describe
from crossgeo.indexer.grid import BLOCK_PX, CELL_PX, CELLS
from crossgeo.indexer.ground import pixels_of
from crossgeo.indexer.imagery import open_sources
from crossgeo.indexer.region import mask_cells
from crossgeo.indexer.source import Source, fill
from crossgeo.indexer.tiles import rule_of
from crossgeo.indexer.vectors.structure import choose_structure

_SAMPLE = 48  # blocks that are cut
_BATCHES = 2  # that are described, after one that is not timed
_MOST_EXACT = 100_000  # blocks whose cells are counted one by one
_ROW_BYTES = 8 + 8  # of a tile beside its descriptor


@dataclass(frozen=True)
class Plan:
    """What a build would take. Where imagery has gaps, all but the blocks are estimates from the sample."""

    blocks: int  # at most: blocks without a valid pixel are not kept
    tiles: int  # before those that show too little are left out (min_contrast, sparse_below)
    zones: int  # metric CRSs
    valid_share: float  # of the ground within the bounds of the sources and outside masks
    bytes: int  # of the finished index
    peak_bytes: int  # while it is built
    cut_s: float  # to cut all blocks, on this machine
    describe_s: float | None  # to describe all tiles; None where no rate is known
    tiles_per_s: float | None
    search: tuple[str, ...]  # how the tiles of each zone would be searched, and why
    imagery_bytes: int  # of the finished index, of its blocks

    @property
    def hours(self) -> float | None:
        """How long the build would take."""
        return None if self.describe_s is None else (self.cut_s + self.describe_s) / 3600.0


@dataclass(frozen=True)
class _Sample:
    block_bytes: float
    blocks_per_s: float
    kept_share: float  # of blocks that hold anything
    valid_share: float  # of the cells within the sources' bounds
    pictures: NDArray[np.uint8]  # (n, 256, 256, 3), for timing a model


def plan_index(
    source_paths: Sequence[str | Path],
    options: BuildOptions | None = None,
    dim: int = 768,
    describe: Describe | None = None,
    tiles_per_s: float | None = None,
) -> Plan:
    """Say what `build_index` of the same imagery and options would take; nothing is written.

    The rate of describing is given, or measured with `describe` on the sample. Raise InputError and UsageError as the build would.
    """
    options = options or BuildOptions()
    if tiles_per_s is not None and not tiles_per_s > 0.0:
        raise UsageError(f"a rate of {tiles_per_s:g} tiles a second leads nowhere; give a positive one")
    if not source_paths:
        raise InputError("no imagery given; name GeoTIFFs or folders of tiles")
    sources = open_sources(source_paths, options.source_crs)
    try:
        groups = {crs: (geodesy.parse_crs(crs), some) for crs, some in group(sources, options).items()}
        blocks = tiles = 0
        kept_bytes, searched_bytes, shares, search = 0.0, 0, [], []
        cut_s, pictures = 0.0, []
        for crs, some in groups.values():
            parts = np.concatenate([metric_parts(s, crs) for s in some])
            keys = grid.blocks_over(parts, options.gsd_m)
            sample = _cut_sample(some, crs, keys, parts, options)
            blocks += len(keys)
            here = _tiles(keys, parts, crs, options, sample.valid_share)
            tiles += here
            chosen = choose_structure(here, dim, options.budget)
            search.append(f"{chosen}: {chosen.why}")
            searched_bytes += chosen.memory_bytes
            kept_bytes += len(keys) * sample.kept_share * sample.block_bytes
            cut_s += len(keys) / sample.blocks_per_s
            shares.append((len(keys), sample.valid_share))
            pictures.append(sample.pictures)
    finally:
        for source in sources:
            source.close()
    if describe is not None and tiles_per_s is None:
        tiles_per_s = _measure(describe, np.concatenate(pictures), options)
    row_bytes = 4 * dim + _ROW_BYTES
    size = kept_bytes + tiles * row_bytes + searched_bytes
    peak = max(2 * kept_bytes, size + tiles * 4 * dim)  # pieces lie beside what is made of them
    valid = sum(n * share for n, share in shares) / max(1, sum(n for n, _ in shares))
    seconds = None if tiles_per_s is None else tiles / tiles_per_s
    return Plan(blocks, tiles, len(groups), valid, round(size), round(peak), cut_s, seconds, tiles_per_s, tuple(search), round(kept_bytes))


def _cut_sample(
    sources: Sequence[Source], crs: CRS, keys: Sequence[tuple[int, int]], parts: NDArray[np.float64], o: BuildOptions
) -> _Sample:
    chosen = [keys[n] for n in sorted(np.random.default_rng(0).permutation(len(keys))[:_SAMPLE].tolist())]
    masks = mask_cells(o.masks, crs, o.gsd_m, chosen)

    def cut(block: tuple[int, int]) -> tuple[NDArray[np.uint8], int, int, int]:
        rgb, valid = np.zeros((BLOCK_PX, BLOCK_PX, 3), np.uint8), np.zeros((BLOCK_PX, BLOCK_PX), bool)
        for source in sources:
            if not valid.all():
                fill(rgb, valid, *source.read(crs, grid.block_bounds(*block, o.gsd_m), valid.shape))
        inside = _inside(block, parts, o.gsd_m)
        if block in masks:
            valid &= ~pixels_of(masks[block])
            inside &= ~masks[block]
        size = len(encode_block(rgb, valid, o.jpeg_quality)) if valid.any() else 0
        return rgb, size, int((cells_of(valid) & inside).sum()), int(inside.sum())

    began = time.perf_counter()
    with ahead(cut, chosen) as found:
        cut_blocks = list(found)
    took_s = max(time.perf_counter() - began, 1e-9)
    sizes = [size for _, size, _, _ in cut_blocks if size]
    share = sum(valid for _, _, valid, _ in cut_blocks) / max(1, sum(inside for _, _, _, inside in cut_blocks))
    pictures = np.stack([rgb for rgb, _, _, _ in cut_blocks])
    mean_bytes = float(np.mean(sizes)) if sizes else 0.0
    return _Sample(mean_bytes, len(chosen) / took_s, len(sizes) / len(chosen), min(1.0, share), pictures)


def _inside(block: tuple[int, int], parts: NDArray[np.float64], gsd_m: float) -> NDArray[np.bool_]:
    """Return the cells (16, 16) of a block whose middle lies in any of the sources' boxes."""
    x_min, y_min, x_max, y_max = grid.block_bounds(*block, gsd_m)
    side_m = CELL_PX * gsd_m
    x, y = x_min + side_m * (np.arange(CELLS) + 0.5), y_max - side_m * (np.arange(CELLS) + 0.5)
    near = parts[(parts[:, 0] < x_max) & (parts[:, 2] > x_min) & (parts[:, 1] < y_max) & (parts[:, 3] > y_min)]
    out = np.zeros((CELLS, CELLS), bool)
    for west, south, east, north in near:
        out |= ((y >= south) & (y <= north))[:, None] & ((x >= west) & (x <= east))[None, :]
    return out


def _tiles(keys: Sequence[tuple[int, int]], parts: NDArray[np.float64], crs: CRS, o: BuildOptions, valid_share: float) -> int:
    """Return about how many tiles there will be: those of the sources' boxes, less what the sample showed to be empty."""
    if len(keys) > _MOST_EXACT:
        return round(len(keys) * valid_share * (BLOCK_PX * o.gsd_m / o.stride_m) ** 2)
    coverage = {block: _inside(block, parts, o.gsd_m) for block in keys}
    for block, masked in mask_cells(o.masks, crs, o.gsd_m, keys).items():
        coverage[block] &= ~masked
    return round(len(grid.select_tiles(coverage, rule_of(grid_of(o)))) * valid_share)


def _measure(describe: Describe, pictures: NDArray[np.uint8], o: BuildOptions) -> float:
    """Return how many tiles a second a model describes."""
    rows = np.resize(np.arange(len(pictures)), o.batch)
    side = np.linspace(0, BLOCK_PX - 1, o.tile_px).astype(int)
    batch = np.ascontiguousarray(pictures[rows][:, side][:, :, side])
    describe(batch)
    began = time.perf_counter()
    for _ in range(_BATCHES):
        describe(batch)
    return _BATCHES * o.batch / max(time.perf_counter() - began, 1e-9)
