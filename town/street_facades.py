"""The look of walls from the street: which piece of the facade bank lies at a point, its wall's colour and grain, and its glass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossgeo.town import facade_cells
from crossgeo.town.noise import Float32
from crossgeo.town.plan import Building
from crossgeo.town.street_walls import Faces

_NEAR_M = 9.0  # a face at most so far from a street is a front


@dataclass(frozen=True)
class Facades:
    """The plan of every face of every building, one row of `facts` each; made once for a town."""

    facts: Float32  # (F, 16), the columns of _COLUMNS
    cells: NDArray[np.int32]  # (F, 3) window, ground floor's window, door: first cell of each


_COLUMNS = ("x", "y", "east", "north", "length", "top", "bay", "floor", "door_bay", "ground", "seed", "grain", "plinth", "r", "g", "b")
_X, _Y, _EAST, _NORTH, _LENGTH, _TOP, _BAY, _FLOOR, _DOOR, _GROUND, _SEED, _GRAIN, _PLINTH = range(13)


def plan_facades(buildings: tuple[Building, ...], faces: Faces, street_m: Float32) -> Facades:
    """Lay out bays, doors and shops; `street_m` is how far each of the (F,) faces is from a carriageway."""
    count = len(faces.building)
    facts, cells = np.zeros((count, 16), np.float32), np.zeros((count, 3), np.int32)
    order = np.lexsort((street_m, faces.building))
    first = np.zeros(count, np.bool_)
    if count:
        owners = faces.building[order]
        first[order[np.r_[True, owners[1:] != owners[:-1]]]] = True
    made = [_habits(building) for building in buildings]
    for k in range(count):
        b = int(faces.building[k])
        habits, building = made[b], buildings[b]
        length, top = float(faces.length_m[k]), float(faces.eave_m[k])
        bays = max(1, round(length / building.window_m)) if length > 1.6 and top > 1.9 else 0
        floors = max(1, round((top - 0.3) / building.floor_m))
        front = street_m[k] < _NEAR_M
        ground = habits.shop if front and habits.shop and length > 3.0 else 0
        hash_k = (building.seed * 31 + k * 17) & 0xFFFF
        blank = (not front and hash_k % 5 == 0) or (length < 2.2) or habits.blind
        door = hash_k % max(bays, 1) if first[k] and not habits.blind else -1.0
        if first[k] and habits.blind and bays:
            door = bays // 2
        facts[k] = (
            faces.x[k], faces.y[k], faces.east[k], faces.north[k], length, top, length / bays if bays else 1e6,
            max(top - 0.15, 1.0) / floors, door,
            ground, hash_k % 4096 if not blank else -1.0, habits.grain, habits.plinth, *building.wall_rgb,
        )  # fmt: skip
        cells[k] = (habits.window, habits.ground_window, habits.door)
    return Facades(facts, cells)


@dataclass(frozen=True)
class _Habits:
    window: int
    ground_window: int
    door: int
    shop: int  # 0 none, 1 shop fronts, 2 roller doors too
    grain: int
    plinth: float
    blind: bool  # sheds and silos


def _habits(building: Building) -> _Habits:
    rng = np.random.default_rng([building.seed, 3])
    small = building.outline.area < 24.0 or building.wings[0].form == "dome" or building.height_m < 2.8
    hall = building.outline.area > 350.0 and building.cover == "metal"
    red, _, blue = building.wall_rgb
    if red > 1.35 * blue and red < 200.0:
        grain = 1 if rng.uniform() < 0.7 else 2
    else:
        grain = int(rng.choice((0, 2, 3, 4), p=(0.62, 0.16, 0.12, 0.1)))
    if hall:
        grain = 3
    design = int(rng.choice(len(facade_cells.WINDOWS), p=(0.2, 0.14, 0.16, 0.14, 0.12, 0.05, 0.11, 0.08)))
    if hall:
        design = 5
    tall = building.height_m > 6.0
    shop = int(rng.choice((0, 1, 2), p=(0.45, 0.4, 0.15))) if tall and not hall else int(rng.uniform() < 0.12) * 2
    door = facade_cells.FIRST_GARAGE + int(rng.integers(3)) if small or hall else facade_cells.FIRST_DOOR + int(rng.integers(6))
    window = facade_cells.FIRST_WINDOW + design * facade_cells.LOOKS
    return _Habits(window, window, door, shop, grain, float(rng.choice((0.0, 0.35, 0.6))), small)


@dataclass(frozen=True)
class WallLook:
    """What N points of walls look like before light."""

    rgb: Float32  # (N, 3)
    glass: Float32  # (N,) 0..1


def wall_look(facades: Facades, face: NDArray[np.int32], x: Float32, y: Float32, z: Float32, size_m: Float32) -> WallLook:
    """Return the colours of N points of walls; `size_m` is how wide a ray is there."""
    f = facades.facts[face]  # (N, 16)
    u = (x - f[:, _X]) * f[:, _EAST] + (y - f[:, _Y]) * f[:, _NORTH]
    bay, floor = u / f[:, _BAY], z / f[:, _FLOOR]
    bay_number, floor_number = np.floor(bay), np.floor(floor)
    seed = f[:, _SEED]
    mixed = (bay_number * np.float32(12.9898) + floor_number * np.float32(78.233) + seed * np.float32(0.37)).astype(np.float32)
    look = np.abs(np.sin(mixed) * np.float32(4375.85))
    look -= np.floor(look)
    own = facades.cells[face]
    cell = own[:, 0] + (look * facade_cells.LOOKS).astype(np.int32)
    ground = floor_number < 0.5
    shop = ground & (f[:, _GROUND] > 0.5)
    shop_cell = facade_cells.FIRST_SHOP + ((seed + np.floor(bay_number / 2.0) * 3.0).astype(np.int32) % 8)
    roller = shop & (f[:, _GROUND] > 1.5) & (look > 0.45)
    cell = np.where(shop, shop_cell, cell)
    cell = np.where(roller, facade_cells.FIRST_ROLLER + (look * 13.0).astype(np.int32) % 4, cell)
    cell = np.where((seed < 0.0) | (z > f[:, _TOP] - 0.12) | (bay_number < 0.0), facade_cells.BLANK, cell)
    cell = np.where(ground & (bay_number == f[:, _DOOR]), own[:, 2], cell)
    bank = facade_cells.facade_bank()
    level = (size_m > 0.05).astype(np.int32) + (size_m > 0.2)
    side = bank.sides[level]
    column = np.clip(((bay - bay_number) * side).astype(np.int32), 0, side - 1)
    row = np.clip(((1.0 - (floor - floor_number)) * side).astype(np.int32), 0, side - 1)
    texel = bank.texels[bank.starts[level] + (cell * side + row) * side + column].astype(np.float32)
    grain = facade_cells.wall_grain()
    iu, iv = (u * np.float32(1.0 / 0.015)).astype(np.int32) & 511, 511 - ((z * np.float32(1.0 / 0.015)).astype(np.int32) & 511)
    fine = grain[f[:, _GRAIN].astype(np.int32), iv, iu]
    fine = 1.0 + (fine - 1.0) * np.clip(np.float32(0.04) / size_m, 0.15, 1.0)
    stain = np.float32(1.0) - np.float32(0.16) * np.clip(1.0 - z / np.float32(0.9), 0.0, 1.0)
    plinth = np.where(z < f[:, _PLINTH], np.float32(0.72), np.float32(1.0))
    rgb = f[:, 13:16] * (fine * stain * plinth * texel[:, 3] * np.float32(1.0 / 128.0))[:, None] + texel[:, :3]
    return WallLook(rgb, texel[:, 4] / np.float32(255.0))
