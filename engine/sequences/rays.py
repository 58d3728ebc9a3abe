"""Rays from cameras to one object: where they meet by least squares, how surely, and whether a point lies on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
TWO_OF_THREE = math.sqrt(2.0 * math.log(3.0))  # the radius that holds them, in standard deviations along one axis of an even Gaussian
_ROUNDS = 20
_NEAREST_M = 1.0  # from which a bearing's error is worth its arc


@dataclass(frozen=True)
class Rays:
    """N rays in a plane of metres, east and north."""

    cameras: Float  # (N, 2)
    bearings_deg: Float  # (N,) clockwise from north
    camera_sigma_m: Float  # (N,) along each axis
    bearing_sigma_deg: Float  # (N,)
    extent_sigma_m: Float  # (N,) of where on the object was pointed at, across the ray

    @property
    def ahead(self) -> Float:
        """(N, 2) unit vectors."""
        angle = np.radians(self.bearings_deg)
        return np.stack([np.sin(angle), np.cos(angle)], axis=-1)

    def chosen(self, which: NDArray[np.intp]) -> Rays:
        """Return some of them."""
        return Rays(*(values[which] for values in (
            self.cameras, self.bearings_deg, self.camera_sigma_m, self.bearing_sigma_deg, self.extent_sigma_m
        )))  # fmt: skip

    def misses(self, points: Float) -> Float:
        """Return by how many standard deviations each ray passes a point of its own, (N, 2) or (2,); infinite where that lies behind."""
        to = points - self.cameras
        along = (to * self.ahead).sum(axis=-1)
        across = to[:, 0] * self.ahead[:, 1] - to[:, 1] * self.ahead[:, 0]
        return np.asarray(np.where(along > 0.0, across / self._sigma(along), np.inf), np.float64)

    def _sigma(self, along_m: Float) -> Float:
        arc_m = np.radians(self.bearing_sigma_deg) * np.maximum(along_m, _NEAREST_M)
        return np.asarray(np.sqrt(self.camera_sigma_m**2 + arc_m**2 + self.extent_sigma_m**2), np.float64)


@dataclass(frozen=True)
class Meeting:
    """Where rays meet."""

    point: Float  # (2,)
    covariance_m2: Float  # (2, 2)
    chi2: float  # sum of squared misses; about the number of rays less two where they agree

    @property
    def radius_m(self) -> float:
        """What holds two of three true places, about."""
        return TWO_OF_THREE * math.sqrt(max(0.0, float(np.trace(self.covariance_m2))) / 2.0)


def meet(rays: Rays) -> Meeting | None:
    """Return where rays meet; None where they are fewer than two, parallel, or meet behind a camera.

    Errors grow with the distance, which is not known before: weights are settled in a few rounds (iteratively reweighted least squares).
    """
    if len(rays.bearings_deg) < 2:
        return None
    ahead = rays.ahead
    normal = np.stack([ahead[:, 1], -ahead[:, 0]], axis=-1)  # (N, 2)
    offset = (normal * rays.cameras).sum(axis=1)
    sigma = np.ones(len(offset))
    point = np.zeros(2)
    for _ in range(_ROUNDS):
        weighted = normal / sigma[:, None]
        information = weighted.T @ weighted
        if np.linalg.cond(information) > 1e8:
            return None
        before, point = point, np.linalg.solve(information, weighted.T @ (offset / sigma))
        along = ((point - rays.cameras) * ahead).sum(axis=1)
        sigma = rays._sigma(along)
        if np.abs(point - before).max() < 1e-9:
            break
    if (along <= 0.0).any():
        return None
    misses = (normal @ point - offset) / sigma
    return Meeting(point, np.asarray(np.linalg.inv(information), np.float64), float(misses @ misses))
