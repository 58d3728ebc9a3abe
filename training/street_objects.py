"""Clicks in street photos for AttenGeo: something that a ray from a camera meets, with its exact box in the imagery around."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from crossgeo.models.street_view import StreetObjectView
from crossgeo.models.views import DroneView
from crossgeo.training.augment import change_photo, change_tile
from crossgeo.training.fingerprint import grounds_fingerprint
from crossgeo.training.objects import SMALLEST_SIDE_PX
from crossgeo.training.render import UNSEEN, ObjectSample, World, outline_box, random_world, render_tile
from crossgeo.training.street import Scenery, Shot, StreetCameras, StreetErrors, Thing

# What is left once a photo's place and heading are found.
SETTLED = StreetErrors(height_error=0.06, heading_error_deg=3.0, settled_share=0.0, strength=0.4)
_RAYS = 160


class StreetObjectSampler:
    """Draws clicks in sceneries, each kind of thing as often as `kinds` says where a camera sees several."""

    def __init__(
        self,
        sceneries: Sequence[Scenery],
        view: StreetObjectView,
        kinds: Mapping[str, float],
        errors: StreetErrors = SETTLED,
        place_error_m: float = 1.0,
        other_day: float = 0.3,
        nothing_share: float = 0.0,
    ) -> None:
        """Take what is clicked from sceneries; `nothing_share` of the clicks show sky, bare ground, cars or what lies out of reach."""
        self.view, self.kinds, self.place_error_m, self.other_day = view, kinds, place_error_m, other_day
        self.nothing_share = nothing_share
        self.sceneries, self.cameras = list(sceneries), StreetCameras(sceneries, errors)
        around = DroneView(extent_m=view.window_extent_m + 2.0 * view.ahead_m)
        self.sites = [self.cameras.sites(scenery.ground, around) for scenery in self.sceneries]

    def identity(self) -> dict[str, Any]:
        """Return what the grounds are and how clicks are drawn (`stream.NamedSource`)."""
        how = {name: getattr(self, name) for name in ("place_error_m", "other_day", "nothing_share")}
        sampling = {"kinds": dict(self.kinds), **how}
        return {"data": grounds_fingerprint(scenery.ground for scenery in self.sceneries), "sampling": sampling}

    def __call__(self, rng: np.random.Generator) -> ObjectSample:
        """Draw one click; a camera that sees nothing near is put elsewhere."""
        while True:
            number = int(rng.integers(len(self.sceneries)))
            site = self.sites[number][rng.integers(len(self.sites[number]))]
            sample = self._click(self.sceneries[number], (float(site[0]), float(site[1])), rng)
            if sample is not None:
                return sample

    def _click(self, scenery: Scenery, site: tuple[float, float], rng: np.random.Generator) -> ObjectSample | None:
        world = random_world(scenery.ground, rng)
        shot = self.cameras.aim(world, site, float(rng.uniform(0.0, 360.0)), rng)
        half = math.radians(min(shot.geometry.hfov_deg, 360.0) * 0.48)
        azimuth = math.radians(shot.geometry.heading_deg) + rng.uniform(-half, half, _RAYS)
        elevation = np.radians(np.clip(rng.normal(2.0, 8.0, _RAYS), -30.0, 30.0))
        level = np.cos(elevation)
        directions = np.stack([np.sin(azimuth) * level, np.cos(azimuth) * level, np.sin(elevation)], axis=1)
        found = scenery.hit(shot.origin_m, shot.rays(directions))
        if rng.random() < self.nothing_share:
            empty = [k for k in range(_RAYS) if found[k] < 0 or self._beyond(world, site, scenery.things[found[k]])]
            return self._sample(shot, None, directions[int(rng.choice(empty))], rng) if empty else None
        near = [k for k in np.flatnonzero(found >= 0) if self._within(world, site, scenery.things[found[k]])]
        seen = sorted({scenery.things[found[k]].kind for k in near} & self.kinds.keys())
        if not seen:
            return None
        share = np.array([self.kinds[kind] for kind in seen])
        kind = seen[int(rng.choice(len(seen), p=share / share.sum()))]
        thing = rng.choice(sorted({int(found[k]) for k in near if scenery.things[found[k]].kind == kind}))  # far ones as often as near
        ray = int(rng.choice([k for k in near if found[k] == thing]))
        return self._sample(shot, scenery.things[found[ray]], directions[ray], rng)

    def _within(self, world: World, site: tuple[float, float], thing: Thing) -> bool:
        """Whether a thing's middle lies within reach, and so its box mostly inside the window."""
        middle = (thing.outline.min(axis=0) + thing.outline.max(axis=0)) / 2.0
        return math.hypot(middle[0] - site[0], middle[1] - site[1]) * world.ground.gsd_m <= self.view.reach_m

    def _beyond(self, world: World, site: tuple[float, float], thing: Thing) -> bool:
        """Whether all of a thing lies out of reach."""
        away_px = -cv2.pointPolygonTest(thing.outline.astype(np.float32), site, True)
        return away_px * world.ground.gsd_m > self.view.reach_m

    def _sample(self, shot: Shot, thing: Thing | None, direction: np.ndarray, rng: np.random.Generator) -> ObjectSample | None:
        view, world = self.view, shot.world
        centre_m = view.centre_m(direction)
        photo, mask = shot.towards(view, direction, rng)
        photo[~mask] = UNSEEN
        away = world.offset_px(*(np.array(centre_m) + rng.normal(0.0, self.place_error_m, 2)).tolist())
        window_px = (shot.site_px[0] + away[0], shot.site_px[1] + away[1])
        box = np.full(4, np.nan, np.float32)
        if thing is not None:
            box = outline_box(world, window_px, view, thing.outline)
            inside = box.clip(0.0, view.window_px)
            if min(inside[2] - inside[0], inside[3] - inside[1]) < SMALLEST_SIDE_PX:
                return None
        window = change_tile(render_tile(world, window_px, view.window_extent_m, view.window_px), rng)
        if rng.random() < self.other_day:
            window = change_photo(window, rng, 0.5)
        sight = view.sight_px(view.sight_m(direction, shot.geometry.height_m), centre_m)
        return ObjectSample(photo, mask, view.click_px(direction), window, box, sight)
