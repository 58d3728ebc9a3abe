"""Imagery as a folder of Web Mercator tiles whose names hold x-y-z, like OAM-386683-220234-19.tif, whatever the suffix says they are."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from pyproj import CRS

from crossgeo.errors import InputError
from crossgeo.indexer.block_store import Mask, Pixels
from crossgeo.indexer.grid import Bounds
from crossgeo.indexer.places import affine_of, carry_bounds, ground_m
from crossgeo.indexer.source import files_fingerprint, files_glance, fill, resample

_NAME = re.compile(r"(?<!\d)(\d+)[-_](\d+)[-_](\d{1,2})(?!\d)")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"}
_HALF_M = math.pi * 6_378_137.0  # half the side of the Web Mercator square
_LEVELS = 3  # the finest zoom and two below it; coarser ones are overviews
_MAX_TILE_PX = 4096
_MARGIN_PX = 4
_WHITE = 250
_WHITE_SHARE = 0.01  # of a tile, that a white region must fill to be no data
_WHITE_EXACT = 0.75  # of such a region, that must be exactly (255, 255, 255); bright roofs stay below 0.7, no data above 0.86
_WHITE_GROW_PX = 3  # JPEG smears the border

Key = tuple[int, int, int]
"""x, y, zoom."""


class XyzSource:
    """A folder of tiles; where several zooms lie in it, the finest that covers a place is used, down to two zooms below the finest.

    JPEG has no mask, so large white regions at a tile's edge count as no data. Safe for threads.
    """

    kind = "xyz"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.crs = CRS.from_epsg(3857)
        found = find_tiles(path)
        if not found:
            raise InputError(f"{path} holds no tiles named x-y-z, like tile-386683-220234-19.png")
        finest = max(z for _, _, z in found)
        self._tiles = {key: file for key, file in sorted(found.items()) if key[2] > finest - _LEVELS}
        self._zooms = sorted({z for _, _, z in self._tiles}, reverse=True)
        self._px = {z: _tile_px(next(file for key, file in self._tiles.items() if key[2] == z)) for z in self._zooms}
        self._decoded = lru_cache(maxsize=256)(self._decode)
        self._decoding = [Lock() for _ in range(16)]
        boxes = self.parts()
        self.bounds: Bounds = (float(boxes[:, 0].min()), float(boxes[:, 1].min()), float(boxes[:, 2].max()), float(boxes[:, 3].max()))
        x, y, z = min(key for key in self._tiles if key[2] == finest)
        self.gsd_m = ground_m(self.crs, affine_of(tile_bounds(x, y, z), (self._px[z], self._px[z])), self._px[z] / 2, self._px[z] / 2)

    def parts(self) -> NDArray[np.float64]:
        """Return the box of every tile (n, 4)."""
        return np.asarray([tile_bounds(*key) for key in self._tiles], np.float64)

    def read(self, crs: CRS, bounds: Bounds, shape: tuple[int, int]) -> tuple[Pixels, Mask]:
        """Return RGB (H, W, 3), 0 where invalid, and valid (H, W) of a box of any CRS."""
        rgb, valid = np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool)
        try:
            box = carry_bounds(bounds, crs, self.crs)
        except InputError:
            return rgb, valid  # past the poles of Web Mercator
        for zoom in self._zooms:
            if valid.all():
                break
            level = self._mosaic(zoom, box)
            if level is None:
                continue
            fill(rgb, valid, *resample(*level, self.crs, crs, bounds, shape))
        return rgb, valid

    def _mosaic(self, zoom: int, box: Bounds) -> tuple[Pixels, Mask, Affine] | None:
        """Return the tiles of a zoom over a Web Mercator box as one picture with its mask and affine; None where there are none."""
        px = self._px[zoom]
        pixel = 2 * _HALF_M / 2**zoom / px  # side in Web Mercator metres
        left, right = math.floor((box[0] + _HALF_M) / pixel) - _MARGIN_PX, math.ceil((box[2] + _HALF_M) / pixel) + _MARGIN_PX
        top, bottom = math.floor((_HALF_M - box[3]) / pixel) - _MARGIN_PX, math.ceil((_HALF_M - box[1]) / pixel) + _MARGIN_PX
        rgb, valid = np.zeros((bottom - top, right - left, 3), np.uint8), np.zeros((bottom - top, right - left), bool)
        for y in range(top // px, (bottom - 1) // px + 1):
            for x in range(left // px, (right - 1) // px + 1):
                if (x, y, zoom) not in self._tiles:
                    continue
                tile_rgb, tile_valid = self._tile((x, y, zoom))
                rows, cols = (max(top, y * px), min(bottom, (y + 1) * px)), (max(left, x * px), min(right, (x + 1) * px))
                there = slice(rows[0] - top, rows[1] - top), slice(cols[0] - left, cols[1] - left)
                here = slice(rows[0] - y * px, rows[1] - y * px), slice(cols[0] - x * px, cols[1] - x * px)
                rgb[there], valid[there] = tile_rgb[here], tile_valid[here]
        if not valid.any():
            return None
        return rgb, valid, Affine(pixel, 0.0, left * pixel - _HALF_M, 0.0, -pixel, _HALF_M - top * pixel)

    def _tile(self, key: Key) -> tuple[Pixels, Mask]:
        with self._decoding[hash(key) % len(self._decoding)]:  # neighbouring blocks, cut by other threads, want the same tiles
            return self._decoded(key)

    def _decode(self, key: Key) -> tuple[Pixels, Mask]:
        path = self._tiles[key]
        px = self._px[key[2]]
        if _tile_px(path) != px:
            raise InputError(f"{path} is not {px} px wide like the other tiles of its zoom; remove it or put it in a folder of its own")
        try:
            with Image.open(path) as image:
                kind = image.format
                opaque = image.mode == "RGB" and "transparency" not in image.info
                pixels = np.asarray(image if opaque else image.convert("RGBA"))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} is not a picture that can be read ({error}); get the tile again or remove it") from error
        rgb = pixels if opaque else np.ascontiguousarray(pixels[..., :3])
        valid = np.ones(rgb.shape[:2], bool) if opaque else pixels[..., 3] >= 128
        if kind == "JPEG":
            valid &= ~white_regions(rgb)
        return rgb, valid

    def has_imagery(self) -> bool:
        """Say whether any of its pixels is valid."""
        return any(self._tile(key)[1].any() for key in self._tiles)

    def fingerprint(self) -> str:
        """Return a hash of its tiles."""
        return files_fingerprint(self._tiles.values())

    def glance(self) -> str:
        """Return a hash of its tiles' names and sizes, and of some tiles."""
        return files_glance(list(self._tiles.values()))

    def close(self) -> None:
        """Forget the decoded tiles."""
        self._decoded.cache_clear()


def find_tiles(folder: Path) -> dict[Key, Path]:
    """Return the tiles of a folder by (x, y, zoom); the last x-y-z of a name counts. Raise InputError where two files are one tile."""
    found: dict[Key, Path] = {}
    for path in sorted(folder.iterdir()):
        key = tile_key(path)
        if key is None:
            continue
        if key in found:
            raise InputError(f"{found[key]} and {path.name} are the same tile; remove one of them")
        found[key] = path
    return found


def tile_key(path: Path) -> Key | None:
    """Return (x, y, zoom) of a tile's file name, None where it names none."""
    matches = _NAME.findall(path.stem)
    if not matches or path.suffix.lower() not in _SUFFIXES:
        return None
    x, y, zoom = map(int, matches[-1])
    return (x, y, zoom) if zoom <= 28 and x < 2**zoom and y < 2**zoom else None


def tile_bounds(x: int, y: int, zoom: int) -> Bounds:
    """Return the bounds of a tile in Web Mercator metres."""
    side = 2 * _HALF_M / 2**zoom
    return x * side - _HALF_M, _HALF_M - (y + 1) * side, (x + 1) * side - _HALF_M, _HALF_M - y * side


def white_regions(rgb: Pixels) -> Mask:
    """Return the (H, W) pixels that are white for want of data: large, nearly all exactly white, and touching the edge of the tile."""
    darkest = np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])  # many times as quick as `min` over three
    white = (darkest >= _WHITE).astype(np.uint8)
    out = np.zeros(white.shape, bool)
    if int(white.sum()) < _WHITE_SHARE * white.size:
        return out
    count, labels, stats, _ = cv2.connectedComponentsWithStats(white, connectivity=4)
    height, width = white.shape
    for n in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[n])
        if area < _WHITE_SHARE * white.size or (x > 0 and y > 0 and x + w < width and y + h < height):
            continue
        region = labels == n
        if float((darkest[region] == 255).mean()) >= _WHITE_EXACT:
            out |= region
    if out.any():
        side = 2 * _WHITE_GROW_PX + 1
        out = cv2.dilate(out.astype(np.uint8), np.ones((side, side), np.uint8)).astype(bool)
    return out


def _tile_px(path: Path) -> int:
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not a picture that can be read ({error}); get the tile again or remove it") from error
    if width != height or width > _MAX_TILE_PX:
        raise InputError(f"{path} is {width} x {height} px; tiles are square and at most {_MAX_TILE_PX} px wide")
    return int(width)
