"""The town at street level: triangles for everything that stands in it, and what any ray sees there."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.town.layout import Town
from crossgeo.town.light import light_colours, season_tables
from crossgeo.town.noise import Float32
from crossgeo.town.plan import Material
from crossgeo.town.scene import Scene
from crossgeo.town.sky import sky_colours, veil_colour
from crossgeo.town.street_cars import add_cars
from crossgeo.town.street_facades import plan_facades, wall_look
from crossgeo.town.street_ground import Ground, leaf_grain, look_up
from crossgeo.town.street_things import add_barriers, add_kerbs, add_lamps, add_markings
from crossgeo.town.street_trees import add_trees
from crossgeo.town.street_walls import Faces, FreeSide, add_buildings
from crossgeo.town.traffic import Car, draw_cars
from crossgeo.town.triangles import Caster, Kind, Soup, Surface, Triangles

FAR_M = 450.0
_GROUND_FAR_M = 2500.0
_SHADOW_FAR_M = 160.0
_TRAFFIC_KEPT = 6  # scenes of cars kept ready


@dataclass(frozen=True)
class Look:
    """What N rays see: display colours before the camera's own noise, the point met in local metres and what it belongs to."""

    rgb: Float32  # (N, 3) 0..255
    x: Float32  # (N,); of sky a point FAR_M away
    y: Float32
    z: Float32
    kind: NDArray[np.uint8]  # (N,) of Kind
    owner: NDArray[np.int32]  # (N,) index into the town's buildings, trees, barriers, lamps or the traffic's cars; -1 for sky and ground


@dataclass(frozen=True)
class Traffic:
    """The cars of one traffic seed, ready for rays."""

    cars: tuple[Car, ...]
    triangles: Triangles
    caster: Caster


class StreetWorld:
    """A town ready for rays from the street; it holds no state that a look changes, but for traffic kept ready."""

    def __init__(self, town: Town) -> None:
        """Build the town's triangles: about a second per 20,000 m2."""
        self.town = town
        self.seed = town.seed
        self.ground = Ground(town)
        soup = Soup()
        faces = add_buildings(soup, town.buildings, FreeSide(town.layers.building, town.layers.gsd_m, town.size_m))
        self.facades = plan_facades(town.buildings, faces, _street_distance(town, faces))
        add_trees(soup, town.trees)
        add_barriers(soup, town.barriers, town.seed)
        add_lamps(soup, town.lamps)
        add_kerbs(soup, town.kerbs)
        add_markings(soup, [(p.shape, p.rgb) for p in town.patches if p.material == Material.MARKING])
        self.triangles = soup.triangles()
        self.caster = Caster(self.triangles.corners)
        self._evergreen = np.array([tree.kind != "broadleaf" for tree in town.trees] or [False])
        crowns = [(tree.x, tree.y, 0.62 * tree.height_m) for tree in town.trees] or [(0.0, 0.0, 0.0)]
        self._crowns = np.asarray(crowns, np.float32)
        self._traffic: OrderedDict[int, Traffic] = OrderedDict()

    def traffic(self, seed: int) -> Traffic:
        """Return the cars of a traffic seed, built when first asked for and kept for a while."""
        if seed not in self._traffic:
            self._traffic[seed] = _traffic_of(draw_cars(self.town, seed))
            if len(self._traffic) > _TRAFFIC_KEPT:
                self._traffic.popitem(last=False)
        self._traffic.move_to_end(seed)
        return self._traffic[seed]

    def look(self, origins: Float32, directions: Float32, scene: Scene, spread: float = 0.006) -> Look:
        """Return what (N, 3) rays see under a scene.

        origins: local metres, above the ground; directions: unit vectors (east, north, up);
        spread: angle between neighbouring rays in radians, which says how fine the grain is that they can see.
        A car that an origin lies in, or within 0.8 m of, is left away.
        """
        origins, directions = np.ascontiguousarray(origins, np.float32), np.ascontiguousarray(directions, np.float32)
        falls = directions[:, 2] < np.float32(-1e-4)
        to_ground = np.where(falls, -origins[:, 2] / np.where(falls, directions[:, 2], np.float32(-1.0)), np.float32(1e9)).astype(
            np.float32
        )
        prim, t, normal = self.caster.first(origins, directions, np.minimum(to_ground, np.float32(FAR_M)))
        traffic = self._without(self.traffic(scene.traffic_seed), origins)
        car, car_t, car_normal = traffic.caster.first(origins, directions, t)
        on_car = car >= 0
        t = np.where(on_car, car_t, t)
        normal[on_car] = car_normal[on_car]
        solid = (prim >= 0) | on_car
        ground = ~solid & (to_ground < np.float32(_GROUND_FAR_M))
        t = np.where(ground, to_ground, t)
        point = origins + directions * t[:, None]
        look = _Shading(self, traffic, scene, point, directions, t, t * np.float32(spread))
        rgb = np.empty((len(t), 3), np.float32)
        kind, owner = np.zeros(len(t), np.uint8), np.full(len(t), -1, np.int32)
        sky = np.flatnonzero(~solid & ~ground)
        if len(sky):
            rgb[sky] = sky_colours(directions[sky], scene, self.town.seed)
        for where, triangles, number in (
            (np.flatnonzero((prim >= 0) & ~on_car), self.triangles, prim),
            (np.flatnonzero(on_car), traffic.triangles, car),
        ):
            if len(where):
                which = number[where]
                kind[where], owner[where] = triangles.kind[which], triangles.owner[which]
                rgb[where] = look.solids(where, triangles, which, normal[where])
        floor = np.flatnonzero(ground)
        if len(floor):
            kind[floor] = Kind.GROUND
            rgb[floor] = look.floor(floor)
        owner[kind == Kind.GROUND] = -1
        near = np.flatnonzero(solid | ground)
        rgb[near] = look.through_air(near, rgb[near])
        return Look(rgb, point[:, 0], point[:, 1], point[:, 2], kind, owner)

    def _without(self, traffic: Traffic, origins: Float32) -> Traffic:
        """Leave away cars that stand where the camera is."""
        if not traffic.cars:
            return traffic
        camera = origins[0]
        at = np.array([(c.x, c.y, c.angle, c.length_m, c.width_m) for c in traffic.cars])
        dx, dy = camera[0] - at[:, 0], camera[1] - at[:, 1]
        ca, sa = np.cos(at[:, 2]), np.sin(at[:, 2])
        inside = (np.abs(dx * ca + dy * sa) < at[:, 3] / 2.0 + 0.8) & (np.abs(dy * ca - dx * sa) < at[:, 4] / 2.0 + 0.8)
        if not inside.any():
            return traffic
        keep = np.flatnonzero(~inside & (np.hypot(dx, dy) < FAR_M))
        return _traffic_of(list(traffic.cars), keep)


def _traffic_of(cars: list[Car], keep: NDArray[np.int64] | None = None) -> Traffic:
    numbers = list(range(len(cars))) if keep is None else [int(k) for k in keep]
    soup = Soup()
    add_cars(soup, [cars[k] for k in numbers], numbers)
    triangles = soup.triangles()
    return Traffic(tuple(cars), triangles, Caster(triangles.corners))


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


class _Shading:
    """One look being coloured: N points with their rays; `where` picks those of one sort."""

    def __init__(
        self, world: StreetWorld, traffic: Traffic, scene: Scene, point: Float32, ray: Float32, t: Float32, size_m: Float32
    ) -> None:
        self.world, self.traffic, self.scene = world, traffic, scene
        self.point, self.ray, self.t, self.size_m = point, ray, t, size_m
        self.sun, self.sky = light_colours(scene)
        self.toward = np.asarray(scene.sun, np.float32)
        self.gain, self.offset = season_tables(scene.season)

    def _sunlit(self, where: NDArray[np.int64], normal: Float32, facing: Float32, lift_m: Float32 | float) -> Float32:
        """Return `facing`, 0 where something stands between a point and the sun."""
        lit = facing.copy()
        if float(self.sun.max()) < 0.03:
            return lit
        try_ = np.flatnonzero(facing > np.float32(0.01))
        start = self.point[where[try_]] + normal[try_] * np.float32(0.03)
        lift = np.broadcast_to(np.asarray(lift_m, np.float32), facing.shape)[try_]
        start += self.toward * lift[:, None]
        toward = np.broadcast_to(self.toward, start.shape).astype(np.float32)
        dark = self.world.caster.blocked(start, toward, _SHADOW_FAR_M)
        free = np.flatnonzero(~dark)
        dark[free] = self.traffic.caster.blocked(start[free], toward[free], 12.0)
        lit[try_[dark]] = 0.0
        return lit

    def floor(self, where: NDArray[np.int64]) -> Float32:
        """Colour the ground."""
        p = self.point[where]
        rgb, material, free = self.world.ground.look(p[:, 0], p[:, 1], self.size_m[where])
        rgb = rgb * self.gain[material] + self.offset[material]
        up = np.zeros_like(p)
        up[:, 2] = 1.0
        facing = np.full(len(where), self.toward[2], np.float32)
        facing[self.t[where] > 250.0] *= 0.9
        lit = self._sunlit(where, up, facing, 0.02)
        colour = _display(rgb, lit[:, None] * self.sun + free[:, None] * self.sky)
        water = np.flatnonzero(material == Material.WATER)
        if len(water):
            colour[water] = self._water(where[water], colour[water])
        return colour

    def _water(self, where: NDArray[np.int64], rgb: Float32) -> Float32:
        ray, p = self.ray[where].copy(), self.point[where]
        ripple = np.float32(0.03) * np.sin(p[:, 0] * 2.1 + np.sin(p[:, 1] * 1.3)) + np.float32(0.02) * np.sin(p[:, 1] * 4.7 + p[:, 0])
        ray[:, 2] = np.abs(ray[:, 2]) + ripple
        mirror = sky_colours(ray, self.scene, self.world.town.seed) * np.float32(0.85)
        share = np.float32(0.06) + np.float32(0.75) * (np.float32(1.0) - np.clip(np.abs(self.ray[where][:, 2]), 0.0, 1.0)) ** 4
        return rgb * (1.0 - share[:, None]) + mirror * share[:, None]

    def solids(self, where: NDArray[np.int64], triangles: Triangles, which: NDArray[np.int32], normal: Float32) -> Float32:
        """Colour what stands on the ground."""
        p, ray = self.point[where], self.ray[where]
        normal = normal / np.maximum(np.sqrt((normal * normal).sum(1, keepdims=True)), np.float32(1e-12))
        normal *= np.where((normal * ray).sum(1) > 0.0, np.float32(-1.0), np.float32(1.0))[:, None]
        surface, rgb = triangles.surface[which], triangles.rgb[which].astype(np.float32)
        glass = np.zeros(len(where), np.float32)
        wall, roof, leaf = (np.flatnonzero(surface == s) for s in (Surface.WALL, Surface.ROOF, Surface.LEAF))
        z = p[:, 2]
        ambient = (
            np.float32(0.32)
            + np.float32(0.34) * np.clip(normal[:, 2] + np.float32(0.35), 0.0, 1.35)
            + np.float32(0.12) * np.clip(z / 8.0, 0.0, 1.0)
        )
        lift = np.full(len(where), 0.02, np.float32)
        facing = normal @ self.toward
        if len(wall):
            found = wall_look(self.world.facades, triangles.face[which[wall]], p[wall, 0], p[wall, 1], z[wall], self.size_m[where[wall]])
            rgb[wall], glass[wall] = found.rgb, found.glass
        if len(roof):
            rgb[roof] = self._roof(p[roof], normal[roof], rgb[roof])
        if len(leaf):
            owner = triangles.owner[which[leaf]]
            rgb[leaf], normal[leaf], ambient[leaf] = self._leaves(
                where[leaf], triangles.kind[which[leaf]] == Kind.TREE, owner, normal[leaf], rgb[leaf]
            )
            facing[leaf] = (normal[leaf] @ self.toward + np.float32(0.3)) * np.float32(1.0 / 1.3)
            lift[leaf] = 0.3
        grainy = np.flatnonzero(
            (surface == Surface.MASONRY) | (surface == Surface.BARK) | (surface == Surface.MARKING) | (surface == Surface.PLAIN)
        )
        if len(grainy):
            rgb[grainy] *= (1.0 + np.float32(0.55) * leaf_grain(p[grainy], self.size_m[where[grainy]], 0))[:, None]
        glass[surface == Surface.GLASS] = 0.8
        np.maximum(facing, 0.0, out=facing)
        lit = self._sunlit(where, normal, facing, lift)
        bounce = np.float32(0.09) * (np.float32(1.0) - normal[:, 2]) * np.float32(self.toward[2])
        light = lit[:, None] * self.sun + ambient[:, None] * self.sky + bounce[:, None] * self.sun
        colour = _display(rgb, light)
        shiny = np.flatnonzero(glass > 0.05)
        if len(shiny):
            colour[shiny] = self._mirror(ray[shiny], normal[shiny], glass[shiny], colour[shiny])
        paint = np.flatnonzero(surface == Surface.PAINT)
        if len(paint):
            colour[paint] = self._mirror(ray[paint], normal[paint], np.full(len(paint), 0.3, np.float32), colour[paint])
        return colour

    def _roof(self, p: Float32, normal: Float32, own: Float32) -> Float32:
        """Roofs look from below as they do from above: the layers' colour, taken a little up the slope from the edge."""
        layers, size_m = self.world.town.layers, self.world.town.size_m
        x, y = p[:, 0] - normal[:, 0] * np.float32(0.5), p[:, 1] - normal[:, 1] * np.float32(0.5)
        gsd = np.float32(layers.gsd_m)
        column, row = (x / gsd).astype(np.int32), ((np.float32(size_m) - y) / gsd).astype(np.int32)
        side = layers.material.shape[0]
        inside = (x > 0.0) & (y > 0.0) & (column < side) & (row < side) & (row >= 0)
        c, r = np.clip(column, 0, side - 1), np.clip(row, 0, side - 1)
        inside &= layers.material[r, c] == Material.ROOF
        seen = look_up(layers.albedo, np.asarray(x / gsd - 0.5, np.float32), np.asarray((size_m - y) / gsd - 0.5, np.float32))
        return np.where(inside[:, None], seen, own)

    def _leaves(
        self, where: NDArray[np.int64], tree: NDArray[np.bool_], owner: NDArray[np.int32], normal: Float32, rgb: Float32
    ) -> tuple[Float32, Float32, Float32]:
        p, world = self.point[where], self.world
        middle = world._crowns[np.where(tree, owner, 0)]
        out = p - middle
        out /= np.maximum(np.sqrt((out * out).sum(1, keepdims=True)), np.float32(1e-3))
        out = np.where(tree[:, None], out, normal)
        soft = out * np.float32(0.62) + normal * np.float32(0.5)
        soft /= np.maximum(np.sqrt((soft * soft).sum(1, keepdims=True)), np.float32(1e-3))
        material = np.where(tree & world._evergreen[np.where(tree, owner, 0)], Material.EVERGREEN, Material.BROADLEAF)
        grain = leaf_grain(p, self.size_m[where], 1)
        colour = (rgb * self.gain[material] + self.offset[material]) * (np.float32(1.02) + grain)[:, None]
        ambient = (np.float32(0.52) + np.float32(0.3) * soft[:, 2]) * (np.float32(1.0) + grain)
        return np.asarray(colour, np.float32), soft, np.asarray(np.maximum(ambient, 0.12), np.float32)

    def _mirror(self, ray: Float32, normal: Float32, glass: Float32, rgb: Float32) -> Float32:
        """Mix in what glass mirrors: sky above, the town opposite below."""
        facing = -(ray * normal).sum(1)
        back = ray + (2.0 * facing)[:, None] * normal
        veil = veil_colour(self.scene)
        high = np.clip((back[:, 2] - np.float32(0.22)) * np.float32(5.0), 0.0, 1.0)[:, None]
        blue = np.asarray((0.5, 0.66, 0.86), np.float32) if self.scene.overcast < 0.5 else np.asarray((0.85, 0.87, 0.9), np.float32)
        sky = veil * (1.0 - np.clip(back[:, 2:3], 0.0, 1.0) * (1.0 - blue))
        town = veil * np.float32(0.42) * (1.0 + np.float32(0.25) * np.sin(back[:, :1] * 9.0 + back[:, 1:2] * 7.0))
        share = (glass * (np.float32(0.16) + np.float32(0.75) * (1.0 - np.clip(facing, 0.0, 1.0)) ** 3))[:, None]
        return np.asarray(rgb * (1.0 - share) + (sky * high + town * (1.0 - high)) * share, np.float32)

    def through_air(self, where: NDArray[np.int64], rgb: Float32) -> Float32:
        """Veil far points."""
        t = self.t[where]
        share = np.minimum(t * np.float32(self.scene.haze / 160.0), np.float32(0.9))
        far = np.clip((t - np.float32(140.0)) / np.float32(700.0), 0.0, 0.8)
        share = np.maximum(share, far)[:, None]
        return np.asarray(rgb * (1.0 - share) + veil_colour(self.scene) * share, np.float32)


_SHOULDER = np.float32(185.0)


def _display(rgb: Float32, light: Float32) -> Float32:
    """Return display colours of albedo under light, with the same shoulder as seen from above."""
    colour = rgb * np.sqrt(light)
    bright = np.maximum(colour - _SHOULDER, np.float32(0.0))
    colour -= bright * bright / (bright + np.float32(80.0))
    return np.asarray(colour, np.float32)
