"""The town at street level: what any ray sees, by the first thing it meets (Embree) and the light there."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossgeo.town.layout import Town
from crossgeo.town.noise import Float32
from crossgeo.town.scene import Scene
from crossgeo.town.sky import sky_colours
from crossgeo.town.street_ground import Ground
from crossgeo.town.street_shading import Shading
from crossgeo.town.street_solid import build_solid
from crossgeo.town.street_traffic import Traffic, build_traffic
from crossgeo.town.traffic import draw_cars
from crossgeo.town.triangles import Caster, Kind, Triangles

FAR_M = 450.0
_GROUND_FAR_M = 2500.0
_GAPS, _BARE_GAPS = 4, 9  # between leaves, that one ray passes, and in winter
_TRAFFIC_KEPT = 6  # moments of traffic kept ready


@dataclass(frozen=True)
class Look:
    """What N rays see: display colours before the camera's own noise, the point met in local metres and what it belongs to."""

    rgb: Float32  # (N, 3) 0..255
    x: Float32  # (N,); of sky a point FAR_M away
    y: Float32
    z: Float32
    kind: NDArray[np.uint8]  # (N,) of Kind
    owner: NDArray[np.int32]  # (N,) index into the town's buildings, trees, barriers or lamps, or the traffic's cars; -1 for all else


class StreetWorld:
    """A town ready for rays from the street; nothing in it changes but which traffic is kept ready."""

    def __init__(self, town: Town) -> None:
        """Build what stands in the town: some seconds for a square kilometre."""
        self.town, self.seed = town, town.seed
        self.ground = Ground(town)
        self.solid = build_solid(town)
        self._kept: OrderedDict[int, Traffic] = OrderedDict()

    @property
    def triangles(self) -> Triangles:
        """All that stands still, as `caster` numbers it."""
        return self.solid.triangles

    @property
    def caster(self) -> Caster:
        """The caster of what stands still; leaves have no gaps for it."""
        return self.solid.caster

    def traffic(self, seed: int) -> Traffic:
        """Return the cars of a traffic seed; built when first asked for and kept for a while."""
        if seed not in self._kept:
            self._kept[seed] = build_traffic(draw_cars(self.town, seed), self.town.size_m)
            if len(self._kept) > _TRAFFIC_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(seed)
        return self._kept[seed]

    def look(self, origins: Float32, directions: Float32, scene: Scene, spread: float = 0.006) -> Look:
        """Return what (N, 3) rays see under a scene.

        origins: local metres, above the ground; directions: unit vectors (east, north, up);
        spread: angle between neighbouring rays in radians, which says how fine the grain is that they can see.
        A car that the first origin lies in or touches is left away.
        """
        origins, directions = np.ascontiguousarray(origins, np.float32), np.ascontiguousarray(directions, np.float32)
        falls = directions[:, 2] < np.float32(-1e-4)
        to_ground = np.where(falls, -origins[:, 2] / np.where(falls, directions[:, 2], np.float32(-1.0)), np.float32(1e9))
        gaps = _BARE_GAPS if scene.season == "winter" else _GAPS
        met, t, normal = self.solid.first(origins, directions, np.minimum(to_ground, np.float32(FAR_M)), scene.season, gaps)
        traffic = self.traffic(scene.traffic_seed)
        car, t, car_normal = traffic.first(origins, directions, t)
        on_car = car >= 0
        normal[on_car] = car_normal[on_car]
        solid = (met >= 0) | on_car
        ground = ~solid & (to_ground < np.float32(_GROUND_FAR_M))
        t = np.where(ground, to_ground, t)
        point = origins + directions * t[:, None]
        shading = Shading(self.town, self.ground, self.solid, traffic, scene, point, directions, t, spread)
        rgb = np.empty((len(t), 3), np.float32)
        kind, owner = np.full(len(t), Kind.SKY, np.uint8), np.full(len(t), -1, np.int32)
        sky, floor = np.flatnonzero(~solid & ~ground), np.flatnonzero(ground)
        rgb[sky] = sky_colours(directions[sky], scene, self.seed)
        still, moving = np.flatnonzero((met >= 0) & ~on_car), np.flatnonzero(on_car)
        for where, triangles, which in ((still, self.solid.triangles, met[still]), (moving, traffic.triangles, car[moving])):
            kind[where], owner[where] = triangles.kind[which], triangles.owner[which]
            rgb[where] = shading.solids(where, triangles, which, normal[where])
        kind[floor] = Kind.GROUND
        rgb[floor] = shading.floor(floor)
        owner[kind == Kind.GROUND] = -1
        near = np.flatnonzero(solid | ground)
        rgb[near] = shading.through_air(near, rgb[near])
        return Look(rgb, point[:, 0], point[:, 1], point[:, 2], kind, owner)
