"""The moment of a picture: sun, season, weather, camera exposure and which cars are about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Season = Literal["spring", "summer", "autumn", "winter"]
SEASONS: tuple[Season, ...] = ("spring", "summer", "autumn", "winter")


@dataclass(frozen=True)
class Scene:
    """Light and state of one picture; the same scene gives the same picture."""

    sun_azimuth_deg: float = 150.0  # clockwise from grid north
    sun_elevation_deg: float = 48.0
    season: Season = "summer"
    exposure: float = 1.0
    warmth: float = 0.0  # -1 blue .. 1 yellow
    overcast: float = 0.0  # 0 clear sky .. 1 no shadows
    haze: float = 0.05  # 0 none .. 1 fog
    noise: float = 2.0  # standard deviation, grey levels
    traffic_seed: int = 0

    @property
    def sun(self) -> tuple[float, float, float]:
        """Unit vector (east, north, up) towards the sun."""
        azimuth, elevation = math.radians(self.sun_azimuth_deg), math.radians(self.sun_elevation_deg)
        return math.sin(azimuth) * math.cos(elevation), math.cos(azimuth) * math.cos(elevation), math.sin(elevation)


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene as varied as the pictures of one place over a few years."""
    overcast = float(rng.uniform(0.5, 1.0)) if rng.uniform() < 0.25 else float(rng.uniform(0.0, 0.25))
    return Scene(
        sun_azimuth_deg=float(rng.uniform(0.0, 360.0)), sun_elevation_deg=float(rng.uniform(22.0, 72.0)),
        season=SEASONS[int(rng.choice(4, p=(0.25, 0.45, 0.2, 0.1)))], exposure=float(rng.uniform(0.82, 1.15)),
        warmth=float(np.clip(rng.normal(0.0, 0.4), -1.0, 1.0)), overcast=overcast, haze=float(rng.uniform(0.0, 0.18)),
        noise=float(rng.uniform(0.5, 4.0)), traffic_seed=int(rng.integers(1 << 31)),
    )  # fmt: skip
