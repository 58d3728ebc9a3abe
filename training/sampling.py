"""Batches for EgoTR: sites in neighbourhoods, so that a batch holds near ground (hard) and far ground (easy) alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crossgeo.models.views import DroneView
from crossgeo.training.augment import change_tile, cut_tile
from crossgeo.training.fingerprint import grounds_fingerprint
from crossgeo.training.grounds import Ground, Image
from crossgeo.training.render import Mask, World, random_world, render_tile


@dataclass(frozen=True)
class Batch:
    """B photos and B tiles with the distances between them; tile i is the nearest to photo i."""

    views: NDArray[np.uint8]  # (B, S, S, 3)
    masks: NDArray[np.bool_]  # (B, S, S)
    tiles: NDArray[np.uint8]  # (B, S, S, 3)
    distance_m: NDArray[np.float32]  # (B, B), inf on other ground
    offset_m: NDArray[np.float32]  # (B, B, 2), how far east and north of tile j photo i lies in the turned world; inf on other ground
    ignore: NDArray[np.bool_]  # (B, B), the same ground under another turn


@dataclass(frozen=True)
class SiteSampling:
    """How sites are drawn."""

    groups: int = 9
    sites: int = 6  # per group
    neighbourhood_m: tuple[float, float] = (22.0, 90.0)  # half side of the square that a group is drawn from: hard to easy
    cut_share: float = 0.35  # of tiles that lie at the rim of their imagery
    offset_m: float = 5.0  # standard deviation of a tile's offset from its photo, along each axis


class Shooter(Protocol):
    """Who takes the photos: `render.Cameras` from the air, `street.StreetCameras` from the street."""

    def sites(self, ground: Ground, view: DroneView) -> NDArray[np.float32]:
        """Return the (N, 2) pixels of a ground at which photos may be taken."""
        ...

    def shoot(
        self, world: World, site_px: tuple[float, float], view: DroneView, rng: np.random.Generator
    ) -> tuple[Image, Mask, tuple[float, float]]:
        """Return a canvas, its mask and how far (east_m, north_m in the turned world) its middle lies from the site."""
        ...


class SiteSampler:
    """Draws batches from grounds, each ground as often as the root of its area says (real ground `real_weight` times as often)."""

    def __init__(
        self, grounds: Sequence[Ground], view: DroneView, cameras: Shooter, sampling: SiteSampling, real_weight: float = 2.0
    ) -> None:
        self.grounds = list(grounds)
        self.view, self.cameras, self.sampling = view, cameras, sampling
        self.centres = [cameras.sites(ground, view) for ground in self.grounds]
        shares = [real_weight if ground.real else 1.0 for ground in self.grounds]
        weight = np.array([share * np.sqrt(max(len(c), 1)) for share, c in zip(shares, self.centres, strict=True)])
        weight[[len(c) < sampling.sites for c in self.centres]] = 0.0
        if not weight.sum():
            raise ValueError("no ground has room for a tile")
        self.weight = weight / weight.sum()

    def identity(self) -> dict[str, Any]:
        """Return what the grounds are and how sites are drawn (`stream.NamedSource`)."""
        how = self.sampling
        return {"data": grounds_fingerprint(self.grounds), "batch": how.groups * how.sites, "sampling": asdict(how)}

    def _group(self, rng: np.random.Generator) -> tuple[int, World, NDArray[np.float32]]:
        number = int(rng.choice(len(self.grounds), p=self.weight))
        ground, centres = self.grounds[number], self.centres[number]
        middle = centres[rng.integers(len(centres))]
        reach = float(np.exp(rng.uniform(*np.log(self.sampling.neighbourhood_m)))) / ground.gsd_m
        near = centres[(np.abs(centres - middle) <= reach).all(axis=1)]
        picks = rng.choice(len(near), self.sampling.sites, replace=len(near) < self.sampling.sites)
        return number, random_world(ground, rng), near[picks]

    def batch(self, rng: np.random.Generator) -> Batch:
        """Draw one batch."""
        views: list[Image] = []
        masks: list[Mask] = []
        tiles: list[Image] = []
        photo_at: list[tuple[float, float]] = []  # metres on the ground
        tile_at: list[tuple[float, float]] = []
        to_offset: list[NDArray[np.float64]] = []  # from metres on the ground to metres east and north in the turned world
        groups: list[int] = []
        numbers: list[int] = []
        for group in range(self.sampling.groups):
            number, world, sites = self._group(rng)
            gsd_m = world.ground.gsd_m
            for site in sites:
                view, mask, ahead_m = self.cameras.shoot(world, (float(site[0]), float(site[1])), self.view, rng)
                ahead = world.offset_px(*ahead_m)
                centre = (float(site[0]) + ahead[0], float(site[1]) + ahead[1])
                shift = world.offset_px(*rng.normal(0, self.sampling.offset_m, 2).tolist())
                at = (centre[0] + shift[0], centre[1] + shift[1])
                views.append(view)
                masks.append(mask)
                tile = change_tile(render_tile(world, at, self.view.extent_m, self.view.size_px), rng)
                tiles.append(cut_tile(tile, rng) if rng.random() < self.sampling.cut_share else tile)
                photo_at.append((centre[0] * gsd_m, centre[1] * gsd_m))
                tile_at.append((at[0] * gsd_m, at[1] * gsd_m))
                to_offset.append(np.asarray(np.linalg.inv(world.to_pixels((0.0, 0.0), gsd_m)[:2, :2]) / gsd_m, np.float64))
                groups.append(group)
                numbers.append(number)
        photo_xy, tile_xy = np.array(photo_at), np.array(tile_at)
        distance = np.linalg.norm(photo_xy[:, None] - tile_xy[None], axis=2).astype(np.float32)  # (B, B)
        group_of, ground_of = np.array(groups), np.array(numbers)
        same_group = group_of[:, None] == group_of[None]
        same_ground = ground_of[:, None] == ground_of[None]
        ignore = same_ground & ~same_group & (distance < self.view.extent_m)
        distance[~same_group] = np.inf
        offset = np.einsum("iab,ijb->ija", np.stack(to_offset), photo_xy[:, None] - tile_xy[None]).astype(np.float32)
        offset[~same_group] = np.inf
        return Batch(np.stack(views), np.stack(masks), np.stack(tiles), distance, offset, ignore)
