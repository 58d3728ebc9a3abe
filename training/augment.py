"""Photometric change between an orthophoto and a photo: light, season, shadow, haze, blur, noise, JPEG. Geometry is in render.py."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
GREY = np.array([0.299, 0.587, 0.114], np.float32)


def _season(x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Shift vegetation between lush and dry: (H, W, 3) in 0..1."""
    green = np.clip((x[..., 1] - np.maximum(x[..., 0], x[..., 2])) * 8.0, 0.0, 1.0)[..., None]
    target = np.array([[1.25, 1.0, 0.75], [1.05, 0.85, 0.7], [0.85, 1.1, 0.8], [1.1, 1.1, 1.1]], np.float32)[rng.integers(4)]
    return np.asarray(x * (1.0 + green * (target - 1.0) * np.float32(rng.uniform(0.0, 1.0))), np.float32)


def _shadow(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return an (H, W, 1) soft shadow: a cloud's edge, or a few hard patches."""
    height, width = shape
    layer = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(1, 4)):
        centre = rng.uniform(0, 1, 2) * (width, height)
        corners = (centre + rng.normal(0, 0.25 * width, (5, 2))).astype(np.int32)
        cv2.fillConvexPoly(layer, cv2.convexHull(corners), 1.0)
    sigma = float(rng.choice([1.0, 4.0, 12.0]))
    return np.asarray(1.0 - rng.uniform(0.15, 0.55) * cv2.GaussianBlur(layer, (0, 0), sigma)[..., None], np.float32)


def _blur(x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    kind = rng.integers(4)
    if kind == 0:
        return np.asarray(cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.4, 1.6))), np.float32)
    if kind == 1:  # motion
        length = int(rng.integers(2, 6))
        kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
        angle = rng.uniform(0, np.pi)
        offset = np.array([np.cos(angle), np.sin(angle)]) * length
        middle = np.array([length, length])
        cv2.line(kernel, tuple(np.round(middle - offset).astype(int).tolist()), tuple(np.round(middle + offset).astype(int).tolist()), 1.0)
        return np.asarray(cv2.filter2D(x, -1, kernel / kernel.sum()), np.float32)
    if kind == 2:  # a photo coarser than the canvas
        scale = rng.uniform(0.4, 0.9)
        small = cv2.resize(x, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (x.shape[1], x.shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)
    return x


def change_photo(image: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Return an (H, W, 3) view of the same ground as another camera on another day would show it."""
    x = image.astype(np.float32) / 255.0
    if rng.random() < 0.4 * strength:
        x = _season(x, rng)
    if rng.random() < 0.35 * strength:
        x = x * _shadow(image.shape[:2], rng)
    x = x ** np.float32(np.exp(rng.normal(0, 0.22 * strength)))
    mean = x.mean()
    x = (x - mean) * np.float32(np.exp(rng.normal(0, 0.2 * strength))) + mean * np.float32(np.exp(rng.normal(0, 0.18 * strength)))
    x = x * np.exp(rng.normal(0, 0.07 * strength, 3)).astype(np.float32)
    grey = (x @ GREY)[..., None]
    x = grey + (x - grey) * np.float32(np.clip(rng.normal(1.0, 0.3 * strength), 0.0, 2.0))
    if rng.random() < 0.2 * strength:
        haze = np.float32(rng.uniform(0.05, 0.3))
        x = x * (1 - haze) + haze * np.array([0.78, 0.8, 0.84], np.float32)
    x = _blur(np.ascontiguousarray(x, np.float32), rng)
    x = x + rng.normal(0, rng.uniform(0.0, 0.035) * strength, x.shape).astype(np.float32)
    out = np.clip(x * 255.0 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, packed = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))])
        out = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(out, np.uint8)


def change_tile(image: Image, rng: np.random.Generator) -> Image:
    """Return a tile as another provider's colour balance would show it (mild)."""
    table = np.arange(256, dtype=np.float32) / 255.0
    gamma, gain = np.exp(rng.normal(0, 0.12)), np.exp(rng.normal(0, 0.08)) * np.exp(rng.normal(0, 0.04, 3))
    tables = np.clip(table[:, None] ** gamma * gain[None] * 255.0 + 0.5, 0, 255).astype(np.uint8)  # (256, 3)
    return np.asarray(cv2.LUT(image, tables[:, None, :].transpose(1, 0, 2)), np.uint8)


def cut_tile(image: Image, rng: np.random.Generator) -> Image:
    """Return a tile at the rim of the imagery: black beyond a straight edge, at most four fifths of it."""
    side = image.shape[0]
    angle = rng.uniform(0.0, 2.0 * np.pi)
    y, x = np.mgrid[:side, :side]
    along = (x - side / 2) * np.cos(angle) + (y - side / 2) * np.sin(angle)
    out = image.copy()
    out[along > np.quantile(along, rng.uniform(0.2, 0.9))] = 0
    return out
