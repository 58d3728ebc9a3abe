"""All that stands still in a town, as triangles ready for rays that may pass between leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.town.layout import Town
from crossgeo.town.leaves import is_gap, leaf_axes
from crossgeo.town.noise import Float32
from crossgeo.town.plan import Material
from crossgeo.town.scene import Season
from crossgeo.town.street_facades import Facades, plan_facades
from crossgeo.town.street_things import add_barriers, add_fittings, add_kerbs, add_lamps, add_markings, add_signs
from crossgeo.town.street_trees import add_trees
from crossgeo.town.street_walls import Faces, FreeSide, add_buildings
from crossgeo.town.triangles import Caster, Soup, Triangles


@dataclass(frozen=True)
class Solid:
    """The triangles of a town with what is known of them."""

    triangles: Triangles
    caster: Caster
    axes: NDArray[np.uint8]  # (N,) as leaf_axes says
    facades: Facades
    crowns: Float32  # (T, 3) middles of the trees' crowns

    def first(
        self, origins: Float32, directions: Float32, far_m: Float32, season: Season, gaps: int
    ) -> tuple[NDArray[np.int32], Float32, Float32]:
        """Return the first triangles met, as the caster does, but let rays through up to `gaps` gaps between leaves."""
        met, t, normal = self.caster.first(origins, directions, far_m)
        leaf = np.flatnonzero(met >= self.triangles.first_leaf)
        for _ in range(gaps):
            if not len(leaf):
                break
            at = origins[leaf] + directions[leaf] * t[leaf, None]
            leaf = leaf[is_gap(self.triangles, self.axes, met[leaf], at, season)]
            ray, gone = directions[leaf], t[leaf] + np.float32(0.02)
            left = np.maximum(far_m[leaf] - gone, np.float32(0.0))
            again, more, other = self.caster.first(origins[leaf] + ray * gone[:, None], ray, left)
            met[leaf], normal[leaf] = again, other
            t[leaf] = np.where(again >= 0, gone + more, far_m[leaf])
            leaf = leaf[again >= self.triangles.first_leaf]
        return met, t, normal


def build_solid(town: Town) -> Solid:
    """Build the triangles of a town and Embree's tree over them."""
    soup = Soup()
    faces = add_buildings(soup, town.buildings, FreeSide(town.layers.building, town.layers.gsd_m, town.size_m))
    add_trees(soup, town.trees)
    add_barriers(soup, town.barriers, town.seed)
    add_lamps(soup, town.lamps)
    add_fittings(soup, town.fittings)
    add_signs(soup, town.lanes, town.seed)
    add_kerbs(soup, town.kerbs)
    add_markings(soup, [(p.shape, p.rgb) for p in town.patches if p.material == Material.MARKING])
    triangles = soup.triangles()
    crowns = [(tree.x, tree.y, 0.62 * tree.height_m) for tree in town.trees] or [(0.0, 0.0, 0.0)]
    facades = plan_facades(town.buildings, faces, _street_distance(town, faces))
    caster, axes = Caster(triangles.corners), leaf_axes(triangles.corners)
    return Solid(replace(triangles, corners=triangles.corners[:0].copy()), caster, axes, facades, np.asarray(crowns, np.float32))


def _street_distance(town: Town, faces: Faces) -> Float32:
    """Return how far a point 1 m before the middle of each face is from a carriageway."""
    step = 1.0
    side = max(1, round(town.size_m / step))
    road = np.isin(town.layers.ground_material, (Material.ROAD, Material.MARKING)).astype(np.uint8)
    free = (cv2.resize(road, (side, side), interpolation=cv2.INTER_NEAREST) == 0).astype(np.uint8)
    away = np.asarray(cv2.distanceTransform(free, cv2.DIST_L2, 3), np.float32) * np.float32(step)
    x = faces.x + faces.east * faces.length_m / 2.0 + faces.north
    y = faces.y + faces.north * faces.length_m / 2.0 - faces.east
    column, row = np.floor(x / step).astype(int), np.floor((town.size_m - y) / step).astype(int)
    inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
    return np.where(inside, away[np.clip(row, 0, side - 1), np.clip(column, 0, side - 1)], np.float32(20.0)).astype(np.float32)
