"""Colours of what rays meet on the street: light of sun and sky, shadows, leaves, glass, water, the air between."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossgeo.town.layout import Town
from crossgeo.town.leaves import leaf_tone
from crossgeo.town.light import light_colours, season_tables
from crossgeo.town.noise import Float32
from crossgeo.town.plan import Material
from crossgeo.town.scene import Scene
from crossgeo.town.sky import sky_colours, veil_colour
from crossgeo.town.street_facades import wall_look
from crossgeo.town.street_ground import Ground, leaf_grain, look_up
from crossgeo.town.street_solid import Solid
from crossgeo.town.street_traffic import Traffic
from crossgeo.town.triangles import Kind, Surface, Triangles

_SHADOW_FAR_M = 160.0
_SHADOW_GAPS, _BARE_SHADOW_GAPS = 1, 5
_GRAINY = np.isin(np.arange(256), (Surface.MASONRY, Surface.BARK, Surface.MARKING, Surface.PLAIN))


class Shading:
    """One look being coloured: N points with their rays; `where` picks those of one sort."""

    def __init__(
        self,
        town: Town,
        ground: Ground,
        solid: Solid,
        traffic: Traffic,
        scene: Scene,
        point: Float32,
        ray: Float32,
        t: Float32,
        spread: float,
    ) -> None:
        """Take (N, 3) points met, the unit rays that met them, their (N,) distances and the angle between neighbouring rays."""
        self.town, self.ground, self.solid, self.traffic, self.scene = town, ground, solid, traffic, scene
        self.point, self.ray, self.t, self.size_m = point, ray, t, t * np.float32(spread)
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
        gaps = _BARE_SHADOW_GAPS if self.scene.season == "winter" else _SHADOW_GAPS
        met, _, _ = self.solid.first(start, toward, np.full(len(start), _SHADOW_FAR_M, np.float32), self.scene.season, gaps)
        dark = met >= 0
        free = np.flatnonzero(~dark)
        dark[free] = self.traffic.caster.blocked(start[free], toward[free], 12.0)
        lit[try_[dark]] = 0.0
        return lit

    def floor(self, where: NDArray[np.int64]) -> Float32:
        """Colour the ground."""
        p = self.point[where]
        rgb, material, free = self.ground.look(p[:, 0], p[:, 1], self.size_m[where])
        rgb = rgb * self.gain[material] + self.offset[material]
        up = np.zeros_like(p)
        up[:, 2] = 1.0
        facing = np.full(len(where), self.toward[2], np.float32)
        facing[self.t[where] > 250.0] *= 0.9
        lit = self._sunlit(where, up, facing, 0.02)
        if self.town.lit:  # it has shadows of its own
            lit, free = (lit + facing) * np.float32(0.5), (free + np.float32(1.0)) * np.float32(0.5)
        free = free * (np.float32(1.0) - np.float32(0.75 / 255.0) * self.traffic.shade_at(p))
        colour = _display(rgb, lit[:, None] * self.sun + free[:, None] * self.sky)
        water = np.flatnonzero(material == Material.WATER)
        if len(water):
            colour[water] = self._water(where[water], colour[water])
        return colour

    def _water(self, where: NDArray[np.int64], rgb: Float32) -> Float32:
        ray, p = self.ray[where].copy(), self.point[where]
        ripple = np.float32(0.03) * np.sin(p[:, 0] * 2.1 + np.sin(p[:, 1] * 1.3)) + np.float32(0.02) * np.sin(p[:, 1] * 4.7 + p[:, 0])
        ray[:, 2] = np.abs(ray[:, 2]) + ripple
        mirror = sky_colours(ray, self.scene, self.town.seed) * np.float32(0.85)
        share = np.float32(0.06) + np.float32(0.75) * (np.float32(1.0) - np.clip(np.abs(self.ray[where][:, 2]), 0.0, 1.0)) ** 4
        return rgb * (1.0 - share[:, None]) + mirror * share[:, None]

    def solids(self, where: NDArray[np.int64], triangles: Triangles, which: NDArray[np.int32], normal: Float32) -> Float32:
        """Colour what stands on the ground."""
        p, ray = self.point[where], self.ray[where]
        normal = normal / np.maximum(np.sqrt((normal * normal).sum(1, keepdims=True)), np.float32(1e-12))
        normal *= np.where((normal * ray).sum(1) > 0.0, np.float32(-1.0), np.float32(1.0))[:, None]
        surface, rgb = triangles.surface[which], triangles.rgb[which].astype(np.float32)
        glass = np.zeros(len(where), np.float32)
        wall, roof = (np.flatnonzero(surface == s) for s in (Surface.WALL, Surface.ROOF))
        leaf = np.flatnonzero(which >= triangles.first_leaf)
        z = p[:, 2]
        ambient = (
            np.float32(0.32)
            + np.float32(0.34) * np.clip(normal[:, 2] + np.float32(0.35), 0.0, 1.35)
            + np.float32(0.12) * np.clip(z / 8.0, 0.0, 1.0)
        )
        lift = np.full(len(where), 0.02, np.float32)
        facing = normal @ self.toward
        if len(wall):
            found = wall_look(self.solid.facades, triangles.face[which[wall]], p[wall, 0], p[wall, 1], z[wall], self.size_m[where[wall]])
            rgb[wall], glass[wall] = found.rgb, found.glass
        if len(roof):
            rgb[roof] = self._roof(p[roof], normal[roof], rgb[roof])
        if len(leaf):
            rgb[leaf], normal[leaf], ambient[leaf] = self._leaves(where[leaf], triangles, which[leaf], normal[leaf], rgb[leaf])
            facing[leaf] = (normal[leaf] @ self.toward + np.float32(0.3)) * np.float32(1.0 / 1.3)
            lift[leaf] = 0.3
        grainy = np.flatnonzero(_GRAINY[surface])
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
        layers, size_m = self.town.layers, self.town.size_m
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
        self, where: NDArray[np.int64], triangles: Triangles, which: NDArray[np.int32], normal: Float32, rgb: Float32
    ) -> tuple[Float32, Float32, Float32]:
        """Return colours, normals and sky light of leaves: a crown is lit as the round thing that it is, not leaf by leaf."""
        p, solid = self.point[where], self.solid
        tree, needle = triangles.kind[which] == Kind.TREE, triangles.surface[which] == Surface.NEEDLE
        out = p - solid.crowns[np.where(tree, triangles.owner[which], 0)]
        out /= np.maximum(np.sqrt((out * out).sum(1, keepdims=True)), np.float32(1e-3))
        out = np.where(tree[:, None], out, normal)
        soft = out * np.float32(0.62) + normal * np.float32(0.5)
        soft /= np.maximum(np.sqrt((soft * soft).sum(1, keepdims=True)), np.float32(1e-3))
        material = np.where(needle, Material.EVERGREEN, Material.BROADLEAF)
        grain = leaf_tone(solid.axes, which, needle, p, self.size_m[where])
        colour = (rgb * self.gain[material] + self.offset[material]) * (np.float32(1.02) + grain)[:, None]
        ambient = (np.float32(0.5) + np.float32(0.34) * soft[:, 2]) * (np.float32(1.0) + np.float32(0.6) * grain)
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
