"""Taking street photos: rays through a panorama or a lens, averaged into pixels, then what the camera itself adds."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.town.noise import Float32
from crossgeo.town.scene import Scene
from crossgeo.town.sensor import photo_rng, vignette
from crossgeo.town.street_camera import Panorama, StreetLens, StreetPose
from crossgeo.town.street_world import Look, StreetWorld

_CHUNK = 262_144  # rays at once: the temporaries of more do not fit in caches


@dataclass(frozen=True)
class StreetHits:
    """What each pixel shows: (H, W) local metres, kind and owner as in Look."""

    x: Float32
    y: Float32
    z: Float32
    kind: NDArray[np.uint8]
    owner: NDArray[np.int32]


def render_panorama(
    world: StreetWorld,
    pose: StreetPose,
    scene: Scene,
    height_px: int = 512,
    width_px: int = 1024,
    samples: int = 2,
    top_deg: float = 90.0,
    bottom_deg: float = -90.0,
) -> tuple[NDArray[np.uint8], StreetHits]:
    """Return an equirectangular (H, W, 3) panorama whose middle column looks along the heading, and what its pixels show."""
    return take_street_photo(world, pose, Panorama(height_px, width_px, top_deg, bottom_deg), scene, samples)


def render_perspective(
    world: StreetWorld, pose: StreetPose, scene: Scene, hfov_deg: float = 70.0, width_px: int = 1024, height_px: int = 768, samples: int = 2
) -> tuple[NDArray[np.uint8], StreetHits]:
    """Return an ordinary photo (H, W, 3) and what its pixels show."""
    return take_street_photo(world, pose, StreetLens(hfov_deg, width_px, height_px), scene, samples)


def take_street_photo(
    world: StreetWorld, pose: StreetPose, camera: Panorama | StreetLens, scene: Scene, samples: int = 2
) -> tuple[NDArray[np.uint8], StreetHits]:
    """Return a photo and what its pixels show, by the first of `samples` rays through each: with one ray, its middle."""
    rng = photo_rng(world.seed, scene, pose.x, pose.y)
    shape = (camera.height_px, camera.width_px)
    count = max(1, samples)
    total = np.zeros((shape[0] * shape[1], 3), np.float32)
    first: list[Look] = []
    for sample in range(count):
        ray = camera.directions(pose, (sample + 0.5) / count, _spread(sample, count)).reshape(-1, 3)
        for start in range(0, len(ray), _CHUNK):
            part = slice(start, start + _CHUNK)
            origins = np.broadcast_to(pose.origin.astype(np.float32), ray[part].shape)
            look = world.look(origins, ray[part], scene, camera.spread)
            total[part] += look.rgb
            if sample == 0:
                first.append(look)
    picture = (total / np.float32(count)).reshape(*shape, 3)
    hits = StreetHits(
        *(np.concatenate([getattr(look, name) for look in first]).reshape(shape) for name in ("x", "y", "z", "kind", "owner"))
    )
    return _through_camera(picture, scene, rng, isinstance(camera, StreetLens)), hits


def _spread(sample: int, count: int) -> float:
    """Return where a sample lies across the other axis: no two samples of a pixel share a row or a column."""
    order = sorted(range(count), key=lambda k: (k * 0.618034 + 0.3) % 1.0)
    return (order.index(sample) + 0.5) / count


def _graded(picture: Float32, rng: np.random.Generator) -> Float32:
    """Change white balance, saturation and contrast a little, as cameras differ."""
    white = rng.normal(1.0, 0.02, 3)
    saturation, contrast = float(rng.uniform(0.78, 1.08)), float(rng.uniform(0.92, 1.12))
    grey = np.asarray((0.3, 0.59, 0.11))
    mix = (np.eye(3) * saturation + (1.0 - saturation) * grey[:, None]) * (white * contrast)
    return np.asarray(picture @ mix.astype(np.float32) + np.float32(118.0 * (1.0 - contrast)), np.float32)


def _through_camera(picture: Float32, scene: Scene, rng: np.random.Generator, lens: bool) -> NDArray[np.uint8]:
    """Add soft focus, noise and, for a lens, falling light towards the corners."""
    sigma = float(rng.uniform(0.2, 0.65))
    if lens and rng.uniform() < 0.15:
        sigma = float(rng.uniform(0.65, 1.4))
    border = cv2.BORDER_REFLECT_101 if lens else cv2.BORDER_WRAP
    k = 3 if sigma < 0.7 else 5
    if not lens:
        picture = np.concatenate([picture[:, -3:], picture, picture[:, :3]], 1)
        border = cv2.BORDER_REFLECT_101
    picture = np.asarray(cv2.GaussianBlur(picture, (k, k), sigma, borderType=border), np.float32)
    if not lens:
        picture = picture[:, 3:-3]
    picture = _graded(picture, rng)
    if scene.noise > 0.0:
        picture = picture + rng.standard_normal(picture.shape[:2], dtype=np.float32)[..., None] * np.float32(scene.noise)
        picture += rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(0.4 * scene.noise)
    out = np.clip(picture, 0.0, 255.0).astype(np.uint8)
    return vignette(out, 0.22) if lens else out
