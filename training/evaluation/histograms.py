"""The baseline that looks at colour and material alone: histograms, compared plainly or by a learned linear map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.models.views import Image
from crossgeo.training.evaluation.retrieval import Descriptors

SIDE_PX = 128
BINS = (12, 4, 4)  # hue, saturation, value
DIMENSIONS = 32  # of the learned map
RIDGE = 0.1  # of the mean variance, added to both covariances
LEAST_PAIRS = 50  # to learn from; with fewer, histograms are compared plainly

PLAIN = "HSV histograms and material statistics, plain correlation (no training pairs to learn a map from)"
LEARNED = "HSV histograms and material statistics, canonical correlation learned from {count} training pairs"

Features = NDArray[np.float64]


def features(picture: Image) -> Features:
    """Return the joint HSV histogram, as square roots of shares, and material statistics of an (H, W, 3) picture: (F,).

    The statistics are means and spreads of gradients at three scales, and the shares of greenery, of grey and of the dark.
    """
    small = cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, list(BINS), [0, 180, 0, 256, 0, 256]).reshape(-1).astype(np.float64)
    red, green, blue = (small[..., channel].astype(np.float64) for channel in range(3))
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    materials = [(2 * green - red - blue > 20).mean(), (hsv[..., 1] < 30).mean(), (hsv[..., 2] < 50).mean()]
    for scale in (1, 2, 4):
        level = cv2.resize(grey, (SIDE_PX // scale, SIDE_PX // scale), interpolation=cv2.INTER_AREA)
        slope = np.hypot(cv2.Sobel(level, cv2.CV_32F, 1, 0), cv2.Sobel(level, cv2.CV_32F, 0, 1)) / 255.0
        materials += [float(slope.mean()), float(slope.std())]
    return np.concatenate([np.sqrt(counts / counts.sum()), np.array(materials, np.float64)])


@dataclass(frozen=True)
class Histograms:
    """Maps of both kinds of features to descriptors."""

    photo_mean: Features
    photo_map: Features
    aerial_mean: Features
    aerial_map: Features

    @classmethod
    def learn(cls, photos: Features, aerials: Features) -> Histograms:
        """Learn from (n, F) features of training pairs: ridge-regularised canonical correlation, to 32 dimensions."""
        means = photos.mean(axis=0), aerials.mean(axis=0)
        x, y = photos - means[0], aerials - means[1]
        roots = _whitening(x), _whitening(y)
        left, strength, right = np.linalg.svd(roots[0] @ (x.T @ y / len(x)) @ roots[1])
        kept = slice(0, min(DIMENSIONS, len(strength)))
        root = np.sqrt(strength[kept])
        return cls(means[0], roots[0] @ left[:, kept] * root, means[1], roots[1] @ right.T[:, kept] * root)

    @classmethod
    def plain(cls, photos: Features, aerials: Features) -> Histograms:
        """Compare (n, F) features as they are: correlation of both kinds, each value scaled by its spread over the set itself."""
        means = photos.mean(axis=0), aerials.mean(axis=0)
        scales = (1.0 / (values.std(axis=0) + 1e-3) for values in (photos, aerials))
        photo_map, aerial_map = (np.diag(scale) for scale in scales)
        return cls(means[0], photo_map, means[1], aerial_map)

    def photos(self, values: Features) -> Descriptors:
        """Turn (n, F) features of photos into (n, D) unit vectors."""
        return _units((values - self.photo_mean) @ self.photo_map)

    def aerials(self, values: Features) -> Descriptors:
        """Turn (n, F) features of aerial pictures into (n, D) unit vectors."""
        return _units((values - self.aerial_mean) @ self.aerial_map)


def features_of(pictures: Sequence[Image]) -> Features:
    """Return the (n, F) features of pictures."""
    return np.stack([features(picture) for picture in pictures])


def _whitening(centred: Features) -> Features:
    covariance = centred.T @ centred / len(centred)
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors / np.sqrt(values) @ vectors.T)


def _units(rows: Features) -> Descriptors:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)
