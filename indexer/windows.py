"""Windows of imagery read from blocks: the one way from blocks to pixels, for building, the fine step and locating alike."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer.block_store import Decoded, Mask, Pixels
from crossgeo.indexer.grid import BLOCK_PX, Window

_MOSAIC_PX = 8192 * 8192  # the most that is read in one piece


class Blocks(Protocol):
    """Where blocks come from: one store, or the layers of `ground.Ground`."""

    def read(self, bx: int, by: int) -> Decoded | None:
        """Return a decoded block, None where there is none; raise StoreError where it is damaged."""
        ...


class BlockCache:
    """The blocks decoded last, of any number of stores, up to a number of bytes; safe to share between threads."""

    def __init__(self, limit_bytes: int = 192 << 20) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._lock = Lock()
        self._blocks: OrderedDict[tuple[int, int, int], Decoded | None] = OrderedDict()

    def get(self, store: Blocks, bx: int, by: int) -> Decoded | None:
        """Return what `store.read` does."""
        key = (id(store), bx, by)
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        block = store.read(bx, by)
        with self._lock:
            if key not in self._blocks:
                self._blocks[key] = block
                self._bytes += _size_bytes(block)
                while self._bytes > self._limit_bytes and len(self._blocks) > 1:
                    self._bytes -= _size_bytes(self._blocks.popitem(last=False)[1])
        return block


def _size_bytes(block: Decoded | None) -> int:
    if block is None:
        return 64
    return block[0].nbytes + (0 if block[1] is None else block[1].nbytes)


def read_mosaic(store: Blocks, cache: BlockCache, col: int, row: int, width: int, height: int) -> tuple[Pixels, Mask]:
    """Return whole pixels of a segment: (height, width, 3) RGB, 0 where invalid, and (height, width) valid."""
    rgb = np.zeros((height, width, 3), np.uint8)
    valid = np.zeros((height, width), bool)
    for by in range(row // BLOCK_PX, (row + height - 1) // BLOCK_PX + 1):
        top, bottom = max(row, by * BLOCK_PX), min(row + height, (by + 1) * BLOCK_PX)
        for bx in range(col // BLOCK_PX, (col + width - 1) // BLOCK_PX + 1):
            block = cache.get(store, bx, by)
            if block is None:
                continue
            left, right = max(col, bx * BLOCK_PX), min(col + width, (bx + 1) * BLOCK_PX)
            there = slice(top - row, bottom - row), slice(left - col, right - col)
            here = slice(top - by * BLOCK_PX, bottom - by * BLOCK_PX), slice(left - bx * BLOCK_PX, right - bx * BLOCK_PX)
            rgb[there] = block[0][here]
            valid[there] = True if block[1] is None else block[1][here]
    return rgb, valid


def scale(rgb: Pixels, valid: Mask, size_px: int) -> tuple[Pixels, Mask]:
    """Bring a square window (n, n, 3) and its mask (n, n) to `size_px`: by area where it shrinks, linearly where it grows.

    Invalid pixels carry no colour into valid ones; a pixel is valid when at least half of what it was made of is.
    """
    if rgb.shape[0] == size_px:
        return rgb.copy(), valid.copy()
    how = cv2.INTER_AREA if rgb.shape[0] > size_px else cv2.INTER_LINEAR
    to = (size_px, size_px)
    if valid.all():
        return np.asarray(cv2.resize(rgb, to, interpolation=how), np.uint8), np.ones(to, bool)
    share = np.asarray(cv2.resize(valid.astype(np.float32), to, interpolation=how))
    summed = np.asarray(cv2.resize(rgb.astype(np.float32), to, interpolation=how))  # invalid pixels are 0
    kept = share >= 0.5 - 1e-6
    out = np.rint(summed / np.maximum(share, 0.25)[..., None]).clip(0, 255).astype(np.uint8)
    out[~kept] = 0
    return out, kept


def read_window(store: Blocks, cache: BlockCache, window: Window, size_px: int) -> tuple[Pixels, Mask]:
    """Return a window at `size_px`: (size_px, size_px, 3) RGB, north up, 0 where invalid, and its mask."""
    return scale(*read_mosaic(store, cache, window.col, window.row, window.px, window.px), size_px)


def read_windows(store: Blocks, cache: BlockCache, windows: Sequence[Window], size_px: int) -> tuple[Pixels, Mask]:
    """Return (n, size_px, size_px, 3) RGB and (n, size_px, size_px) valid: `read_window` of each, read as one mosaic where they overlap."""
    rgb = np.zeros((len(windows), size_px, size_px, 3), np.uint8)
    valid = np.zeros((len(windows), size_px, size_px), bool)
    if not windows:
        return rgb, valid
    col, row = min(w.col for w in windows), min(w.row for w in windows)
    width, height = max(w.col + w.px for w in windows) - col, max(w.row + w.px for w in windows) - row
    if width * height > min(_MOSAIC_PX, sum(w.px * w.px for w in windows)):
        for n, w in enumerate(windows):
            rgb[n], valid[n] = read_window(store, cache, w, size_px)
        return rgb, valid
    all_rgb, all_valid = read_mosaic(store, cache, col, row, width, height)
    for n, w in enumerate(windows):
        part = slice(w.row - row, w.row - row + w.px), slice(w.col - col, w.col - col + w.px)
        rgb[n], valid[n] = scale(all_rgb[part], all_valid[part], size_px)
    return rgb, valid


def windows_at(centres_xy: NDArray[np.float64], size_m: float, gsd_m: float) -> list[Window]:
    """Return the window about each of (n, 2) centres in metres."""
    return [Window.at(float(x), float(y), size_m, gsd_m) for x, y in np.asarray(centres_xy, np.float64).reshape(-1, 2)]
