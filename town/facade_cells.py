"""A bank of painted pieces of wall, one bay wide and one storey high: windows of several designs, doors, shop fronts, garage doors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.town.noise import Float32

SIDE_PX = 128
LOOKS = 4  # of each design: curtains, blinds, shutters open or shut
BLANK = 0
_WHITE, _DARK = (226.0, 224.0, 218.0), (52.0, 48.0, 46.0)
_Rgb = tuple[float, float, float]


class _Cell:
    """One piece being painted; coordinates are shares of the bay and of the storey, 0, 0 at the lower left."""

    def __init__(self) -> None:
        self.rgb = np.full((SIDE_PX, SIDE_PX, 3), 128.0, np.float32)  # where paint covers the wall; 128 leaves the wall's colour
        self.paint = np.zeros((SIDE_PX, SIDE_PX), np.float32)
        self.glass = np.zeros((SIDE_PX, SIDE_PX), np.float32)

    def area(self, u0: float, v0: float, u1: float, v1: float) -> tuple[slice, slice]:
        cols = slice(round(u0 * SIDE_PX), max(round(u1 * SIDE_PX), round(u0 * SIDE_PX) + 1))
        return slice(round((1.0 - v1) * SIDE_PX), max(round((1.0 - v0) * SIDE_PX), round((1.0 - v1) * SIDE_PX) + 1)), cols

    def fill(self, u0: float, v0: float, u1: float, v1: float, rgb: _Rgb, glass: float = 0.0) -> None:
        part = self.area(u0, v0, u1, v1)
        self.rgb[part], self.paint[part], self.glass[part] = rgb, 1.0, glass

    def shade(self, u0: float, v0: float, u1: float, v1: float, gain: float) -> None:
        """Darken or lighten what is there; on bare wall the gain is kept as grey around 128."""
        self.rgb[self.area(u0, v0, u1, v1)] *= np.float32(gain)


def _pane(cell: _Cell, rng: np.random.Generator, u0: float, v0: float, u1: float, v1: float) -> None:
    """Fill an opening with what is behind glass: a dark room, curtains, a blind."""
    deep = float(rng.uniform(24.0, 52.0))
    cell.fill(u0, v0, u1, v1, (deep, deep * 1.04, deep * 1.08), 1.0)
    part = cell.area(u0, v0, u1, v1)
    rows = part[0].stop - part[0].start
    cell.rgb[part] *= np.linspace(0.8, 1.35, rows, dtype=np.float32)[:, None, None]
    look = rng.uniform()
    if look < 0.3:  # curtains at the sides
        width = (u1 - u0) * float(rng.uniform(0.15, 0.3))
        tone = float(rng.uniform(120.0, 190.0))
        for a, b in ((u0, u0 + width), (u1 - width, u1)):
            cell.fill(a, v0, b, v1, (tone, tone * 0.97, tone * 0.9), 0.6)
    elif look < 0.55:  # a blind part of the way down
        down = v1 - (v1 - v0) * float(rng.uniform(0.2, 0.8))
        tone = float(rng.uniform(140.0, 205.0))
        cell.fill(u0, down, u1, v1, (tone, tone, tone * 0.95), 0.55)
    cell.shade(u0, v1 - 0.05, u1, v1, 0.55)  # the reveal's shadow
    cell.shade(u0, v0, u0 + 0.02, v1, 0.7)


def _window(
    cell: _Cell,
    rng: np.random.Generator,
    u0: float,
    v0: float,
    u1: float,
    v1: float,
    bars: tuple[int, int],
    frame: _Rgb,
    sill: bool = True,
    bar: float = 0.016,
) -> None:
    cell.shade(u0 - 0.02, v0 - 0.02, u1 + 0.02, v1 + 0.02, 0.9)
    cell.fill(u0, v0, u1, v1, frame)
    _pane(cell, rng, u0 + bar, v0 + bar, u1 - bar, v1 - bar)
    for k in range(1, bars[0]):
        at = u0 + (u1 - u0) * k / bars[0]
        cell.fill(at - bar / 2, v0, at + bar / 2, v1, frame)
    for k in range(1, bars[1]):
        at = v0 + (v1 - v0) * k / bars[1]
        cell.fill(u0, at - bar / 2, u1, at + bar / 2, frame)
    if sill:
        cell.fill(u0 - 0.03, v0 - 0.03, u1 + 0.03, v0, (196.0, 192.0, 184.0))
        cell.shade(u0 - 0.02, v0 - 0.055, u1 + 0.02, v0 - 0.03, 0.8)


def _casement(cell: _Cell, rng: np.random.Generator) -> None:
    _window(cell, rng, 0.3, 0.3, 0.7, 0.8, (2, 1), _WHITE)


def _barred(cell: _Cell, rng: np.random.Generator) -> None:
    _window(cell, rng, 0.28, 0.28, 0.72, 0.8, (3, 3), _WHITE, bar=0.012)


def _sash(cell: _Cell, rng: np.random.Generator) -> None:
    cell.fill(0.28, 0.8, 0.72, 0.87, (198.0, 190.0, 176.0))
    _window(cell, rng, 0.33, 0.24, 0.67, 0.8, (1, 2), _WHITE)


def _shutters(cell: _Cell, rng: np.random.Generator) -> None:
    paint = ((72.0, 96.0, 74.0), (120.0, 76.0, 58.0), (88.0, 104.0, 126.0), (146.0, 138.0, 122.0))[int(rng.integers(4))]
    _window(cell, rng, 0.34, 0.26, 0.66, 0.8, (2, 1), _WHITE)
    shut = rng.uniform() < 0.25
    for a, b in ((0.33, 0.5), (0.5, 0.67)) if shut else ((0.18, 0.335), (0.665, 0.82)):
        cell.fill(a, 0.26, b, 0.8, paint)
        for k in range(9):
            at = 0.28 + 0.055 * k
            cell.shade(a + 0.012, at, b - 0.012, at + 0.02, 0.78)


def _wide(cell: _Cell, rng: np.random.Generator) -> None:
    _window(cell, rng, 0.12, 0.3, 0.88, 0.8, (3, 1), _WHITE if rng.uniform() < 0.5 else (90.0, 92.0, 94.0))


def _ribbon(cell: _Cell, rng: np.random.Generator) -> None:
    _window(cell, rng, 0.0, 0.32, 1.0, 0.82, (2, 1), (120.0, 122.0, 124.0), sill=False, bar=0.02)


def _tall(cell: _Cell, rng: np.random.Generator) -> None:
    _window(cell, rng, 0.3, 0.06, 0.7, 0.8, (2, 1), _DARK if rng.uniform() < 0.4 else _WHITE, sill=False)
    for k in range(11):  # a rail before it
        cell.fill(0.29 + 0.042 * k, 0.06, 0.298 + 0.042 * k, 0.34, (48.0, 48.0, 50.0))
    cell.fill(0.28, 0.34, 0.72, 0.355, (48.0, 48.0, 50.0))


def _small(cell: _Cell, rng: np.random.Generator) -> None:
    _window(cell, rng, 0.36, 0.4, 0.64, 0.76, (2, 1), (110.0, 84.0, 62.0))
    if rng.uniform() < 0.6:
        for k in range(6):
            cell.fill(0.37 + 0.05 * k, 0.4, 0.377 + 0.05 * k, 0.76, (64.0, 60.0, 56.0))


WINDOWS: tuple[Callable[[_Cell, np.random.Generator], None], ...] = (_casement, _barred, _sash, _shutters, _wide, _ribbon, _tall, _small)


def _door(cell: _Cell, rng: np.random.Generator) -> None:
    paint = ((112.0, 66.0, 44.0), (66.0, 88.0, 76.0), (58.0, 66.0, 92.0), (128.0, 44.0, 40.0), (198.0, 194.0, 186.0), (70.0, 62.0, 58.0))[
        int(rng.integers(6))
    ]
    cell.fill(0.3, 0.0, 0.7, 0.8, (206.0, 202.0, 194.0))
    cell.fill(0.34, 0.0, 0.66, 0.77, paint)
    for u in (0.38, 0.52):
        for v0, v1 in ((0.08, 0.3), (0.36, 0.5)):
            cell.shade(u, v0, u + 0.1, v1, 0.82)
    cell.fill(0.38, 0.56, 0.62, 0.72, (44.0, 48.0, 54.0), 0.8)
    cell.fill(0.24, 0.0, 0.76, 0.035, (168.0, 164.0, 156.0))
    if rng.uniform() < 0.5:
        cell.fill(0.22, 0.83, 0.78, 0.88, (96.0, 92.0, 88.0))
        cell.shade(0.24, 0.77, 0.76, 0.83, 0.72)


def _garage(cell: _Cell, rng: np.random.Generator) -> None:
    tone = float(rng.uniform(120.0, 225.0))
    cell.fill(0.08, 0.0, 0.92, 0.78, (tone, tone * 0.98, tone * 0.94))
    for k in range(1, 6):
        cell.shade(0.08, 0.13 * k, 0.92, 0.13 * k + 0.014, 0.7)
    cell.shade(0.08, 0.74, 0.92, 0.78, 0.6)


def _shop(cell: _Cell, rng: np.random.Generator) -> None:
    sign = rng.uniform(30.0, 215.0, 3)
    frame = (58.0, 58.0, 60.0) if rng.uniform() < 0.6 else (150.0, 120.0, 86.0)
    cell.fill(0.0, 0.0, 1.0, 0.98, frame)
    cell.fill(0.04, 0.13, 0.96, 0.7, (46.0, 46.0, 44.0), 0.9)
    part = cell.area(0.06, 0.14, 0.94, 0.42)
    shape = cell.rgb[part].shape
    goods = cv2.resize(
        (rng.uniform(30.0, 150.0, (5, 16, 1)) * rng.uniform(0.75, 1.2, (5, 16, 3))).astype(np.float32),
        (shape[1], shape[0]),
        interpolation=cv2.INTER_NEAREST,
    )
    cell.rgb[part] = 0.55 * goods + 0.45 * cell.rgb[part]
    cell.shade(0.04, 0.6, 0.96, 0.7, 1.5)
    if rng.uniform() < 0.5:
        at = 0.62 if rng.uniform() < 0.5 else 0.1
        cell.fill(at, 0.0, at + 0.28, 0.7, frame)
        cell.fill(at + 0.03, 0.05, at + 0.25, 0.67, (36.0, 38.0, 40.0), 0.9)
    cell.fill(0.0, 0.74, 1.0, 0.94, (float(sign[0]), float(sign[1]), float(sign[2])))
    letters = rng.integers(5, 11)
    light = float(245.0 if sign.mean() < 140.0 else 40.0)
    for k in range(letters):
        u = 0.14 + 0.72 * k / letters
        cell.fill(u, 0.79, u + 0.42 / letters, 0.79 + float(rng.uniform(0.05, 0.1)), (light, light, light))
    if rng.uniform() < 0.35:  # an awning
        part = cell.area(0.0, 0.6, 1.0, 0.76)
        stripes = (np.arange(part[1].stop - part[1].start) // 8 % 2).astype(np.float32)[None, :, None]
        cell.rgb[part] = stripes * sign.astype(np.float32) + (1.0 - stripes) * np.float32(225.0)
        cell.glass[part] = 0.0
        cell.shade(0.0, 0.52, 1.0, 0.6, 0.5)


def _roller(cell: _Cell, rng: np.random.Generator) -> None:
    tone = float(rng.uniform(90.0, 170.0))
    cell.fill(0.06, 0.0, 0.94, 0.72, (tone, tone * 1.02, tone * 1.04))
    for k in range(18):
        cell.shade(0.06, 0.04 * k, 0.94, 0.04 * k + 0.01, 0.72)
    if rng.uniform() < 0.5:
        sign = rng.uniform(30.0, 215.0, 3)
        cell.fill(0.04, 0.78, 0.96, 0.96, (float(sign[0]), float(sign[1]), float(sign[2])))


_OTHERS: tuple[tuple[Callable[[_Cell, np.random.Generator], None], int], ...] = ((_door, 6), (_garage, 3), (_shop, 8), (_roller, 4))
FIRST_WINDOW = 1
FIRST_DOOR = FIRST_WINDOW + len(WINDOWS) * LOOKS
FIRST_GARAGE = FIRST_DOOR + 6
FIRST_SHOP = FIRST_GARAGE + 3
FIRST_ROLLER = FIRST_SHOP + 8


@dataclass(frozen=True)
class Bank:
    """All cells at sides of 128, 32 and 8 pixels, flat: row `start[level] + (cell * side + row) * side + column` is paint (r, g, b),
    how much of the wall's own colour shows (128 is all of it) and how much is glass."""

    texels: NDArray[np.uint8]  # (T, 5)
    sides: NDArray[np.int32]
    starts: NDArray[np.int32]


def _layers(cell: _Cell) -> Float32:
    wall = (1.0 - cell.paint) * cell.rgb.mean(2)
    return np.dstack([np.clip(cell.rgb, 0.0, 255.0) * cell.paint[..., None], np.minimum(wall, 255.0), cell.glass * 255.0]).astype(
        np.float32
    )


@lru_cache(maxsize=1)
def facade_bank() -> Bank:
    """Paint the bank; the same for all towns."""
    rng = np.random.default_rng(77)
    cells = [_Cell()]
    for paint, count in (*((window, LOOKS) for window in WINDOWS), *_OTHERS):
        for _ in range(count):
            cells.append(_Cell())
            paint(cells[-1], rng)
    full = np.stack([_layers(cell) for cell in cells])
    flat, sides, starts, start = [], (SIDE_PX, 32, 8), [], 0
    for side in sides:
        f = SIDE_PX // side
        small = full.reshape(len(cells), side, f, side, f, 5).mean((2, 4)) if f > 1 else full
        flat.append((small + 0.5).astype(np.uint8).reshape(-1, 5))
        starts.append(start)
        start += len(flat[-1])
    return Bank(np.concatenate(flat), np.asarray(sides, np.int32), np.asarray(starts, np.int32))


def wall_grain() -> Float32:
    """Return (5, 512, 512) brightness of plaster, brick, boards, panels and stone, 1.5 cm a pixel, about 1 on the mean."""
    return _wall_grain()


@lru_cache(maxsize=1)
def _wall_grain() -> Float32:
    rng = np.random.default_rng(78)
    side = 512
    rows, cols = np.mgrid[0:side, 0:side].astype(np.float32) * np.float32(0.015)

    def noise(cells: int, strength: float) -> Float32:
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        return np.asarray(
            cv2.resize(np.pad(grid, ((0, 1), (0, 1)), mode="wrap"), (side, side), interpolation=cv2.INTER_CUBIC) * strength, np.float32
        )

    plaster = 1.0 + noise(8, 0.03) + noise(40, 0.02) + noise(200, 0.02)
    course = np.floor(rows / 0.075)
    along = cols + 0.12 * np.mod(course, 2.0)
    joint = (np.mod(rows, 0.075) < 0.013) | (np.mod(along, 0.24) < 0.013)
    tint = rng.normal(0.0, 0.11, (128, 64))[course.astype(int) % 128, np.floor(along / 0.24).astype(int) % 64]
    brick = np.where(joint, 1.12, 0.98 + tint) + noise(12, 0.03)
    board = np.mod(rows, 0.18)
    boards = (
        np.where(board < 0.02, 0.72, 1.0 + 0.03 * (board / 0.18))
        + rng.normal(0.0, 0.03, 64)[np.floor(rows / 0.18).astype(int) % 64]
        + noise(60, 0.015)
    )
    panels = np.where((np.mod(rows, 2.56) < 0.03) | (np.mod(cols, 2.56) < 0.03), 0.8, 1.0) + noise(6, 0.05) + noise(90, 0.02)
    stone_row = np.floor(rows / 0.3)
    stone_along = cols + 0.37 * np.mod(stone_row, 3.0)
    stone = np.where((np.mod(rows, 0.3) < 0.02) | (np.mod(stone_along, 0.55) < 0.02), 0.82, 1.0)
    stone = (
        stone
        + rng.normal(0.0, 0.06, (64, 64))[stone_row.astype(int) % 64, np.floor(stone_along / 0.55).astype(int) % 64]
        + noise(100, 0.02)
    )
    return np.stack([plaster, brick, boards, panels, stone]).astype(np.float32)
