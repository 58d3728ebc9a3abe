"""Map search: a photo's coarse feature map slid over all imagery worth it, not over the tiles that descriptors like alone.

A street photo's descriptor forgets where in its 60 m a thing stands, and knows its turn badly; its map of 6 m cells knows both. In a
held-out town of 10,000 tiles the right place of panoramas of unknown heading stood among the first 40 for 95 % by maps, for 25 % by
descriptors. A square kilometre costs half a second for 24 turns; of larger indexes the blocks that descriptors like best are searched.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.fine import Spot
from crossgeo.engine.photo_maps import STRIDES, DenseDescriber, PhotoMaps
from crossgeo.engine.pose import Pose
from crossgeo.engine.rivals import hits_at
from crossgeo.engine.surfaces import Overlap, Scene, fit_surfaces
from crossgeo.engine.within import near, tiles_around
from crossgeo.indexer.index import GeoIndex, Segment
from crossgeo.indexer.select import Selection

Block = tuple[int, int, int]  # segment, column, row of a grid of squares of `block_m`
_STRIDE = STRIDES[-1]


@dataclass(frozen=True)
class MapSearchSettings:
    """How much imagery is searched, and how many places are returned."""

    rivals: int = 32
    apart_m: float = 12.0  # rivals that lie nearer are one
    block_px: int = 640  # of the canvas's scale: 240 m
    blocks: int = 64  # of one question
    kept_blocks: int = 320  # between questions, 0.55 MB each
    peaks: int = 24  # of one block
    cosine_weight: float = 1.0  # of the descriptors' cosine against the maps' correlation
    overlap: Overlap = field(default_factory=Overlap)


@dataclass(frozen=True)
class _Peak:
    """A shift and pose at which the maps fit better than around it."""

    segment: Segment
    x: float  # of the canvas's middle
    y: float
    pose: int
    fit: float
    tile: int  # nearest of those that are searched


class MapSearch:
    """Searches one index; keeps the maps of its blocks between questions."""

    def __init__(self, index: GeoIndex, describer: DenseDescriber, settings: MapSearchSettings | None = None) -> None:
        self.settings = settings or MapSearchSettings()
        self._index, self._describer = index, describer
        self._m_per_px = describer.canvas_m / describer.canvas_px
        self._kept: OrderedDict[Block, tuple[Tensor, NDArray[np.bool_]] | None] = OrderedDict()
        self._lock = Lock()

    def rivals(self, photo: PhotoMaps, poses: Sequence[Pose], selection: Selection | None) -> list[Spot]:
        """Return the places at which the photo fits best at any of the poses, best first, with the coarse fit.

        A canvas's middle lies within the cell of a tile; with a selection places lie in it, to the width of a map's cell.
        """
        ids = tiles_around(self._index, selection, [photo.look.offset_m(photo.photo, pose) for pose in poses])
        queries = photo.describe(poses)  # (P, D)
        templates = photo.at(poses, (_STRIDE,))
        peaks: list[_Peak] = []
        for block, tiles in self._blocks(queries, ids).items():
            scene = self._scene(block)
            if scene is not None:
                surface = fit_surfaces(templates.maps[0], templates.cells[0], [scene], _STRIDE, self.settings.overlap)[0]
                peaks += self._peaks(block, surface, tiles)
        if not peaks:
            return []
        cosines = (self._index.descriptors(np.array([peak.tile for peak in peaks])) * queries[[peak.pose for peak in peaks]]).sum(axis=1)
        order = np.argsort([-(peak.fit + self.settings.cosine_weight * cosine) for peak, cosine in zip(peaks, cosines, strict=True)])
        spots = self._spots(photo, poses, [(peaks[k], float(cosines[k])) for k in order])
        return list(self._distinct(spot for spot in spots if near(selection, [spot], spot.radius_m)))

    def _spots(self, photo: PhotoMaps, poses: Sequence[Pose], ranked: list[tuple[_Peak, float]]) -> Iterator[Spot]:
        for peak, cosine in ranked:
            east_m, north_m = photo.look.offset_m(photo.photo, poses[peak.pose])
            x, y, radius_m = peak.x - east_m, peak.y - north_m, _STRIDE * self._m_per_px
            yield Spot(peak.segment, x, y, poses[peak.pose], cosine, radius_m, peak.tile, peak.fit)

    def _distinct(self, spots: Iterable[Spot]) -> Iterator[Spot]:
        """The best spots that lie apart."""
        taken: list[tuple[int, float, float]] = []
        for spot in spots:
            own = spot.segment.number
            if all(own != number or math.hypot(spot.x - x, spot.y - y) >= self.settings.apart_m for number, x, y in taken):
                taken.append((own, spot.x, spot.y))
                yield spot
                if len(taken) == self.settings.rivals:
                    return

    def _blocks(self, queries: NDArray[np.float32], ids: NDArray[np.int64] | None) -> dict[Block, NDArray[np.int64]]:
        """The blocks to search, each with its tiles: all, or those of the tiles that descriptors like best."""
        tiles = np.arange(len(self._index)) if ids is None else ids
        side_m = self.settings.block_px * self._m_per_px
        cells = np.floor(self._index.centres[tiles] / side_m).astype(np.int64)
        keys = np.concatenate([self._index.segment_numbers[tiles, None].astype(np.int64), cells], axis=1)
        blocks, inverse = np.unique(keys, axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)
        wanted = np.arange(len(blocks))
        if len(blocks) > self.settings.blocks:
            # A block is worth its best tile; tiles of the others' blocks were not even near.
            scores, hits = self._index.search(queries, min(len(tiles), hits_at(40 * self.settings.blocks, self._index.stride_m)), ids)
            best = np.full(len(blocks), -2.0)
            rows = np.searchsorted(tiles, hits.reshape(-1).clip(0))
            np.maximum.at(best, inverse[rows], np.where(hits.reshape(-1) >= 0, scores.reshape(-1), -2.0))
            wanted = np.argsort(-best, kind="stable")[: self.settings.blocks]
        number, column, row = (blocks[:, axis].tolist() for axis in range(3))
        return {(number[k], column[k], row[k]): tiles[inverse == k] for k in wanted.tolist()}

    def _scene(self, block: Block) -> Scene | None:
        """The map of a block with half a canvas around it; None where there is no imagery."""
        with self._lock:
            there = block in self._kept
            if there:
                self._kept.move_to_end(block)
                kept = self._kept[block]
        if not there:  # several threads may make the same one, and make it alike
            kept = self._made(block)
            with self._lock:
                self._kept[block] = kept
                while len(self._kept) > self.settings.kept_blocks:
                    self._kept.popitem(last=False)
        return None if kept is None else Scene(kept[0].float(), kept[1])

    def _made(self, block: Block) -> tuple[Tensor, NDArray[np.bool_]] | None:
        size_px = self.settings.block_px + self._describer.canvas_px
        segment = self._index.segments[block[0]]
        rgb, valid = self._index.read_window(segment, *self._middle(block), size_px * self._m_per_px, size_px)
        return (self._describer.scene_features(rgb[None])[-1][0].half(), valid) if valid.any() else None

    def _middle(self, block: Block) -> tuple[float, float]:
        side_m = self.settings.block_px * self._m_per_px
        return (block[1] + 0.5) * side_m, (block[2] + 0.5) * side_m

    def _peaks(self, block: Block, surface: Tensor, tiles: NDArray[np.int64]) -> list[_Peak]:
        """The best peaks of (P, s, s) over all poses that lie within the cells of the tiles."""
        top, pose = surface.max(dim=0)
        peak = (top > 0.0) & (top == F.max_pool2d(top[None], 3, 1, 1)[0])
        rows, columns = torch.nonzero(peak, as_tuple=True)
        if len(rows) == 0:
            return []
        order = torch.argsort(top[rows, columns], descending=True)
        rows, columns = rows[order], columns[order]
        cell_m, half = _STRIDE * self._m_per_px, (surface.shape[-1] - 1) / 2.0
        x, y = self._middle(block)
        at = np.stack([x + (columns.numpy() - half) * cell_m, y + (half - rows.numpy()) * cell_m], axis=1)  # (N, 2)
        centres = self._index.centres[tiles]
        away = np.abs(at[:, None] - centres[None]).max(axis=2)  # (N, T)
        nearest = away.argmin(axis=1)
        inside = away[np.arange(len(at)), nearest] <= 0.5 * self._index.stride_m + cell_m
        segment = self._index.segments[block[0]]
        fits, poses = top[rows, columns].tolist(), pose[rows, columns].tolist()
        return [
            _Peak(segment, float(at[k, 0]), float(at[k, 1]), poses[k], fits[k], int(tiles[nearest[k]]))
            for k in np.flatnonzero(inside)[: self.settings.peaks].tolist()
        ]
