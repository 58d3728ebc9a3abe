"""Descriptors of cities that nobody has flown over: drawn with the mean, spectrum and neighbourhood of real ones, and photos of them.

python benchmarks/descriptor_model.py INDEX [--data DIR] fits the model to an index of Banepa and to photos rendered of its held-out
ground, and writes benchmarks/results/descriptor-model.json: numbers alone, from which `Descriptors` draws as many rows as are wanted.

A descriptor is the mean plus a Gaussian field over the grid of tiles, scaled to unit length. Along each principal axis the field is a sum
of white noise averaged over squares of 1 to 64 strides, weighted so that neighbours are as alike as they are in the index. A photo's
descriptor lies between those of the four tiles about it, times a factor, plus a residual with the mean and spectrum that those of photos
have, shrunk until photos are as like their nearest tiles as real ones are.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, record
from numpy.typing import NDArray

Array = NDArray[np.float32]

AXES = 192  # drawn one by one; what lies beyond is white noise
SIDE = 128  # tiles along a side of a patch, which are drawn together
WIDTHS = (1, 2, 3, 4, 8, 16, 64)  # strides that noise is averaged over
LAGS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32)


@dataclass(frozen=True)
class Model:
    """The numbers of a fit, all along the principal axes of the real descriptors."""

    mean: Array  # (AXES,)
    deviation: Array  # (AXES,), square root of the spectrum
    beyond: float  # length of what lies beyond those axes
    weights: Array  # of WIDTHS, shares of the variance
    factor: float  # of a tile's descriptor in a photo's
    residual_mean: Array  # (AXES,)
    residual_deviation: Array  # (AXES,)
    residual_beyond: float
    dim: int

    @classmethod
    def read(cls, path: Path | None = None) -> Model:
        """Read what `fit` wrote."""
        found = json.loads((path or RESULTS / "descriptor-model.json").read_text())["model"]
        return cls(**{name: np.asarray(value, np.float32) if isinstance(value, list) else value for name, value in found.items()})


class Descriptors:
    """Draws rows and photos' descriptors; the same seed draws the same."""

    def __init__(self, model: Model, seed: int) -> None:
        self._model, self._seed = model, seed
        draw = np.random.default_rng(seed)
        turned, _ = np.linalg.qr(draw.standard_normal((model.dim, model.dim)))
        self._axes = turned[:AXES].astype(np.float32)  # no axis of a descriptor means more than another
        self._noise = draw.standard_normal((1 << 14, model.dim), np.float32) / math.sqrt(model.dim)

    def patches(self, rows: int, photos: int = 0) -> Iterator[tuple[Array, Array]]:
        """Yield patches (at most SIDE^2, D) of neighbouring tiles, `rows` in all, each with its share (m, D) of the photos."""
        draw = np.random.default_rng((self._seed, 1))
        wanted = np.sort(draw.choice(rows, photos, replace=False))
        for number, at in enumerate(range(0, rows, SIDE * SIDE)):
            patch = self._patch(number)
            yield patch[: rows - at], self._photos(draw, patch, wanted[wanted // SIDE**2 == number] % SIDE**2)

    def draw(self, rows: int, photos: int) -> tuple[Array, Array]:
        """Return all rows (n, D) and photos (m, D) at once."""
        drawn = list(self.patches(rows, photos))
        return np.concatenate([patch for patch, _ in drawn]), np.concatenate([taken for _, taken in drawn])

    def _photos(self, draw: np.random.Generator, patch: Array, tiles: NDArray[np.int64]) -> Array:
        m, count = self._model, len(tiles)
        residual = m.residual_mean + m.residual_deviation * draw.standard_normal((count, AXES), np.float32)
        beyond = m.residual_beyond / math.sqrt(m.dim) * draw.standard_normal((count, m.dim), np.float32)
        return _unit(m.factor * _between(draw, patch, tiles) + residual @ self._axes + beyond)

    def _patch(self, number: int) -> Array:
        m, draw = self._model, np.random.default_rng((self._seed, 2, number))
        field = np.zeros((SIDE, SIDE, AXES), np.float32)
        for width, weight in zip(WIDTHS, m.weights, strict=True):
            if weight > 0.0:
                field += math.sqrt(weight) * _averaged(draw, width)
        rows = (m.mean + m.deviation * field.reshape(-1, AXES)) @ self._axes
        start = int(draw.integers(len(self._noise)))
        rows += m.beyond * np.roll(self._noise, start, axis=0)[: len(rows)]
        return _unit(rows)


def _between(draw: np.random.Generator, patch: Array, tiles: NDArray[np.int64]) -> Array:
    """Return what would describe places up to half a stride from tiles of a patch."""
    rows = patch.reshape(SIDE, SIDE, -1)
    at = np.stack([tiles // SIDE, tiles % SIDE]) + draw.uniform(-0.5, 0.5, (2, len(tiles)))
    low = np.clip(at.astype(np.int64), 0, SIDE - 2)
    down, right = (np.clip(at - low, 0.0, 1.0)[:, :, None]).astype(np.float32)
    i, j = low
    upper = rows[i, j] * (1.0 - right) + rows[i, j + 1] * right
    lower = rows[i + 1, j] * (1.0 - right) + rows[i + 1, j + 1] * right
    return _unit(upper * (1.0 - down) + lower * down)


def _averaged(draw: np.random.Generator, width: int) -> Array:
    """Return white noise (SIDE, SIDE, AXES) averaged over squares of `width`, of variance 1; between the points of wide ones near it."""
    step = max(1, width // 4)  # noise of wide squares need not be drawn finely
    across = width // step
    points = SIDE // step + 1
    field = draw.standard_normal((points + across, points + across, AXES), np.float32)
    for axis in (0, 1):
        field = np.sum([np.take(field, np.arange(at, at + points), axis) for at in range(across)], axis=0) / math.sqrt(across)
        if step > 1:
            low, share = np.divmod(np.arange(SIDE), step)
            weight = np.expand_dims((share / step).astype(np.float32), (1, 2) if axis == 0 else (0, 2))
            field = np.take(field, low, axis) * (1.0 - weight) + np.take(field, low + 1, axis) * weight
    return np.asarray(field[:SIDE, :SIDE], np.float32)


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def fit(tiles: Array, cells: NDArray[np.int64], photos: Array, near: NDArray[np.int64]) -> Model:
    """Fit to tiles (n, D) at grid cells (n, 2), and to photos (m, D) with the number (m,) of the tile that each was taken nearest to."""
    from scipy.optimize import nnls

    mean = tiles.mean(axis=0)
    spectrum, axes = np.linalg.eigh(np.cov(tiles.T.astype(np.float64)))
    spectrum, axes = np.maximum(spectrum[::-1], 0.0), axes[:, ::-1]
    centred = tiles - mean
    at = {(int(i), int(j)): row for row, (i, j) in enumerate(cells)}
    alike = []
    for lag in LAGS:
        pairs = np.asarray([(row, at[i + lag, j]) for (i, j), row in at.items() if (i + lag, j) in at])
        alike.append(float((centred[pairs[:, 0]] * centred[pairs[:, 1]]).sum(axis=1).mean() / spectrum.sum()))
    shapes = np.asarray([[max(0.0, 1.0 - lag / width) for width in WIDTHS] for lag in LAGS])
    weights, _ = nnls(np.concatenate([shapes, np.ones((1, len(WIDTHS))) * 10.0]), np.asarray([*alike, 10.0]))
    own = tiles[near]
    factor = float((photos * own).sum(axis=1).mean())
    residual = photos - factor * own
    residual_mean = residual.mean(axis=0)
    along = (residual - residual_mean) @ axes[:, :AXES]
    rest = np.linalg.norm((residual - residual_mean) - along @ axes[:, :AXES].T, axis=1)
    model = Model(
        (mean @ axes[:, :AXES]).astype(np.float32), np.sqrt(spectrum[:AXES]).astype(np.float32), math.sqrt(float(spectrum[AXES:].sum())),
        (weights / weights.sum()).astype(np.float32), factor, (residual_mean @ axes[:, :AXES]).astype(np.float32),
        along.std(axis=0).astype(np.float32), float(np.sqrt((rest**2).mean())), int(tiles.shape[1]),
    )  # fmt: skip
    goal = float(np.median((photos @ tiles.T).max(axis=1)))
    shrunk = [replace(model, residual_deviation=model.residual_deviation * share) for share in np.linspace(0.3, 1.0, 15, dtype=np.float32)]
    return min(shrunk, key=lambda m: abs(_nearest(m, len(tiles)) - goal))


def _nearest(model: Model, rows: int) -> float:
    tiles, photos = Descriptors(model, 1).draw(rows, 300)
    return float(np.median((photos @ tiles.T).max(axis=1)))


def likeness(tiles: Array, photos: Array) -> dict[str, Any]:
    """Return the quantiles of cosines by which drawn descriptors are held against real ones."""

    def among(values: Array) -> list[float]:
        return [round(float(value), 3) for value in np.quantile(values, (0.1, 0.5, 0.9))]

    scores = tiles @ tiles.T
    np.fill_diagonal(scores, -1.0)
    scores = -np.sort(-scores, axis=1)
    asked = -np.sort(-(photos @ tiles.T), axis=1)
    return {
        "tile to nearest": among(scores[:, 0]), "tile to tenth": among(scores[:, 9]), "tile to hundredth": among(scores[:, 99]),
        "tile to any": among(scores[:, :-1]), "photo to nearest": among(asked[:, 0]), "photo to tenth": among(asked[:, 9]),
        "photo, nearest less second": among(asked[:, 0] - asked[:, 1]),
    }  # fmt: skip


def real(index: Path, data: Path, count: int) -> tuple[Array, NDArray[np.int64], Array, NDArray[np.int64]]:
    """Return an index's descriptors, their cells, and photos rendered of held-out ground with the tiles that they show."""
    import ground_truth

    from crossgeo import geodesy
    from crossgeo.engine.describe import EgoTRDescriber
    from crossgeo.engine.pose import DronePose
    from crossgeo.indexer.index import GeoIndex

    with GeoIndex.open(index) as opened:
        crs, centres = opened.segments[0].crs, opened.centres
        describer = EgoTRDescriber.load(opened.manifest.identity.name)
        photos, near = [], []
        for truth in ground_truth.rendered_truths(ground_truth.banepa(data, "held-out"), count, 77, camera_known=True):
            exif = truth.photo.exif
            x, y = geodesy.from_lat_lon(crs, truth.lat, truth.lon)
            heading = truth.heading_deg - geodesy.grid_convergence_deg(crs, x, y)
            width_m = 2 * exif.height_m / math.cos(math.radians(exif.tilt_deg)) * math.tan(math.radians(exif.fov_deg / 2))
            photos.append(describer.photo(truth.photo, [DronePose(heading, width_m, exif.tilt_deg, exif.fov_deg)])[0])
            near.append(int(np.hypot(*(centres - (x, y)).T).argmin()))
        cells = np.rint(centres / opened.stride_m).astype(np.int64)
        return opened.descriptors(np.arange(len(opened))), cells, np.stack(photos), np.asarray(near)


def main() -> None:
    """Fit the model and record it with how like the real ones its descriptors are."""
    import ground_truth

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--photos", type=int, default=300)
    args = parser.parse_args()
    tiles, cells, photos, near = real(args.index, ground_truth.data_folder(args.data), args.photos)
    model = fit(tiles, cells, photos, near)
    alike = {"real": likeness(tiles, photos), "drawn": likeness(*Descriptors(model, 1).draw(len(tiles), len(photos)))}
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(model).items()}
    record(
        "descriptor-model",
        {"fitted_to": "Banepa's index, photos rendered of held-out ground", "tiles": len(tiles), "cosines": alike, "model": plain},
    )


if __name__ == "__main__":
    main()
