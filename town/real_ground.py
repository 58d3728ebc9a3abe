"""What lies on real ground, read from the colours of its orthophoto: streets, grass, soil, trees; and where cars park along it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.town.noise import Float32
from crossgeo.town.plan import Material, Tree

_STREET_M = 2.6  # narrower gaps between houses are no streets
_STREET_LEAST_M2 = 150.0
_AMONG_M = 60.0  # the width of the widest street between known houses
_BACKDROP_M = 12.0
_LEAF = np.array((72.0, 96.0, 50.0))  # crowns in an orthophoto may lie in shade
_CAR_PROBABILITY = 0.5


@dataclass(frozen=True)
class Cover:
    """The ground of an orthophoto, (H, W)."""

    material: NDArray[np.uint8]
    street: NDArray[np.bool_]  # open ground among the known buildings that leads somewhere, where people walk and drive
    crown: NDArray[np.bool_]  # dark green
    known: NDArray[np.bool_]  # where the footprints are, and so no building is missing
    edge_m: Float32  # how far each point of the street is from its edge


def cover_of(rgb: NDArray[np.uint8], valid: NDArray[np.bool_], roof: NDArray[np.bool_], gsd_m: float) -> Cover:
    """Tell what an orthophoto (H, W, 3) shows by colour and by the roofs (H, W) that are known; what is not `valid` is nothing of it."""
    k = max(3, round(0.7 / gsd_m) | 1)
    red, green, blue = (np.asarray(cv2.blur(rgb[..., c], (k, k)), np.float32) for c in range(3))
    light = (red + green + blue) / np.float32(3.0)
    leafy = (np.float32(2.0) * green - red - blue) / np.maximum(light, np.float32(20.0))
    texture = np.asarray(cv2.blur(np.abs(rgb[..., 1].astype(np.float32) - green), (k, k)), np.float32)
    grassy = leafy > 0.1
    near_roof = np.asarray(cv2.dilate(roof.astype(np.uint8), np.ones((3, 3), np.uint8))) > 0
    crown = valid & ~near_roof & (leafy > 0.13) & (light < 92.0) & (texture > 4.0)
    known = _known(roof, gsd_m)
    open_ground = (valid & known & ~near_roof & ~grassy & ~crown).astype(np.uint8)
    open_ground = np.asarray(cv2.morphologyEx(open_ground, cv2.MORPH_CLOSE, _disc(1.6, gsd_m)), np.uint8) & (~near_roof).astype(np.uint8)
    street = _large(np.asarray(cv2.morphologyEx(open_ground, cv2.MORPH_OPEN, _disc(_STREET_M, gsd_m)), np.uint8), gsd_m)
    edge = np.asarray(cv2.distanceTransform(np.pad(street.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1], np.float32)
    material = np.full(rgb.shape[:2], Material.SOIL, np.uint8)
    material[grassy] = Material.GRASS
    material[crown] = Material.BROADLEAF
    material[street] = Material.ROAD
    material[roof] = Material.ROOF
    material[~valid] = Material.SOIL
    return Cover(material, street, crown, known, edge * np.float32(gsd_m))


def _disc(width_m: float, gsd_m: float) -> NDArray[np.uint8]:
    width = max(3, round(width_m / gsd_m) | 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)), np.uint8)


def _known(roof: NDArray[np.bool_], gsd_m: float) -> NDArray[np.bool_]:
    """Return the ground among the roofs: all that lies between them over at most _AMONG_M."""
    step = max(1, round(1.0 / gsd_m))
    rows, columns = roof.shape
    small = np.asarray(cv2.resize(roof.astype(np.uint8), (columns // step, rows // step), interpolation=cv2.INTER_AREA), np.uint8)
    margin = round(_AMONG_M / (step * gsd_m)) + 2
    closed = cv2.morphologyEx(np.pad(small, margin), cv2.MORPH_CLOSE, _disc(_AMONG_M, step * gsd_m))[margin:-margin, margin:-margin]
    return np.asarray(cv2.resize(closed, (columns, rows), interpolation=cv2.INTER_NEAREST)) > 0


def _large(mask: NDArray[np.uint8], gsd_m: float) -> NDArray[np.bool_]:
    """Keep the parts of a mask that are as large as a piece of street."""
    count, labels, facts, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    keep = np.zeros(count, np.bool_)
    keep[1:] = facts[1:, cv2.CC_STAT_AREA] * gsd_m**2 >= _STREET_LEAST_M2
    return np.asarray(keep[labels])


def draw_backdrop(cover: Cover, size_m: float, gsd_m: float, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Return (x, y, width) of houses that may stand where no footprints are known and it is neither green nor near what is known."""
    step = max(1, round(1.0 / gsd_m))
    known = np.ascontiguousarray(cover.known[::step, ::step]).astype(np.uint8)
    away = np.asarray(cv2.distanceTransform(1 - known, cv2.DIST_L2, 5), np.float32) * np.float32(step * gsd_m)
    green = np.isin(cover.material[::step, ::step], (Material.GRASS, Material.BROADLEAF)).astype(np.float32)
    green = np.asarray(cv2.blur(green, (9, 9)), np.float32)
    houses = []
    for x in np.arange(6.0, size_m, 14.0):
        for y in np.arange(6.0, size_m, 14.0):
            x1, y1 = x + float(rng.uniform(-2.5, 2.5)), y + float(rng.uniform(-2.5, 2.5))
            row, column = int((size_m - y1) / gsd_m) // step, int(x1 / gsd_m) // step
            if 0 <= row < away.shape[0] and 0 <= column < away.shape[1] and away[row, column] > _BACKDROP_M and green[row, column] < 0.35:
                houses.append((x1, y1, float(rng.uniform(7.0, 11.0))))
    return houses


def draw_trees(rgb: NDArray[np.uint8], cover: Cover, size_m: float, gsd_m: float, rng: np.random.Generator) -> list[Tree]:
    """Return trees where crowns were told, the widest spots first, none into another."""
    step = max(1, round(0.6 / gsd_m))
    mask = np.ascontiguousarray(cover.crown[::step, ::step]).astype(np.uint8)
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)), np.uint8)
    away = np.asarray(cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1], np.float32)
    rows, columns = np.nonzero(away > 1.4)
    order = np.argsort(-away[rows, columns], kind="stable")
    taken = np.zeros(mask.shape, np.uint8)
    trees = []
    cell_m = step * gsd_m
    for k in order:
        row, column = int(rows[k]), int(columns[k])
        if taken[row, column]:
            continue
        radius_m = float(np.clip(away[row, column] * cell_m * rng.uniform(0.9, 1.3), 1.0, 4.2))
        cv2.circle(taken, (column, row), max(1, round(1.5 * radius_m / cell_m)), 1, -1)
        if rng.uniform() < 0.8:
            x, y = (column + 0.5) * cell_m, size_m - (row + 0.5) * cell_m
            r, c = min(row * step, rgb.shape[0] - 1), min(column * step, rgb.shape[1] - 1)
            seen = rgb[max(0, r - 4) : r + 5, max(0, c - 4) : c + 5].reshape(-1, 3).mean(0)
            red, green, blue = (float(v) for v in 0.5 * seen + 0.5 * _LEAF)
            tall = float(np.clip(1.2 + radius_m * rng.uniform(1.6, 2.3), 2.0, 14.0))
            trees.append(Tree(x, y, radius_m, tall, "broadleaf", (red, green, blue), int(rng.integers(1 << 30))))
    return trees


def draw_slots(cover: Cover, size_m: float, gsd_m: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (N, 4) slots for cars (x, y, angle, probability) beside the edges of wide streets, along them."""
    smooth = np.asarray(cv2.GaussianBlur(cover.edge_m, (0, 0), 1.2 / gsd_m), np.float32)
    across, down = np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 1, 0)), np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    middle = np.asarray(cv2.dilate(cover.edge_m, np.ones((round(5.0 / gsd_m) | 1,) * 2, np.uint8)), np.float32)
    rows, columns = np.nonzero((cover.edge_m > 1.15) & (cover.edge_m < 1.5) & (middle > 3.0))
    count = min(len(rows), round(cover.street.sum() * gsd_m**2 / 45.0))
    slots: list[tuple[float, float, float, float]] = []
    taken = np.zeros(cover.street.shape, np.uint8)
    for k in rng.permutation(len(rows))[: 6 * count]:
        row, column = int(rows[k]), int(columns[k])
        if len(slots) >= count or taken[row, column]:
            continue
        cv2.circle(taken, (column, row), round(6.0 / gsd_m), 1, -1)
        angle = float(np.arctan2(-down[row, column], across[row, column]) + np.pi / 2.0)
        slots.append(((column + 0.5) * gsd_m, size_m - (row + 0.5) * gsd_m, angle, _CAR_PROBABILITY))
    return np.asarray(slots, np.float64).reshape(-1, 4)
