"""Logistic regression with a penalty and with weights that may only push one way, by projected Newton steps (Bertsekas 1982)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
_STEPS, _HALVINGS, _ENOUGH = 100, 40, 1e-10
_DOUBT = 0.5  # of a pair: so much of a hit and of a miss is seen besides, at the middle of the features


def fit_logistic(rows: Float, hits: NDArray[np.bool_], signs: Sequence[int], penalty: float) -> Float:
    """Return (1 + F,) weights, the first alone, of (N, F) features of middle 0 and scale 1: a hit's chance is 1 / (1 + exp(-w x)).

    `signs` (F,) says which weights may not be below 0 (1) or above (-1). `penalty` is half the weight of their squares; the first is free,
    held by half a hit and half a miss that are added: where all pairs are hits, the chance stays below 1.
    """
    count, width = rows.shape
    x = np.zeros((count + 2, 1 + width))
    x[:, 0], x[:count, 1:] = 1.0, rows
    y = np.concatenate([hits.astype(np.float64), [1.0, 0.0]])
    share = np.concatenate([np.ones(count), [_DOUBT, _DOUBT]])
    bounds = np.array([0, *signs])
    ridge = np.full(1 + width, 2.0 * penalty)
    ridge[0] = 0.0

    def loss(w: Float) -> float:
        z = x @ w
        return float((share * (np.logaddexp(0.0, z) - y * z)).sum() + 0.5 * (ridge * w * w).sum())

    weights = np.zeros(1 + width)
    now = loss(weights)
    for _ in range(_STEPS):
        chance = sigmoid(x @ weights)
        slope = x.T @ (share * (chance - y)) + ridge * weights
        held = (bounds != 0) & (weights == 0.0) & (slope * bounds >= 0.0)  # at their bound, and drawn beyond it
        free = ~held
        bend = (x[:, free].T * (share * chance * (1.0 - chance))) @ x[:, free] + np.diag(ridge[free] + 1e-9)
        step = np.zeros(1 + width)
        step[free] = np.linalg.solve(bend, slope[free])
        size = 1.0
        for _ in range(_HALVINGS):
            tried = weights - size * step
            tried = np.where(tried * bounds < 0.0, 0.0, tried)
            then = loss(tried)
            if then <= now:
                break
            size *= 0.5
        else:
            break
        done, weights, now = now - then, tried, then
        if done <= _ENOUGH * (1.0 + abs(now)):
            break
    return weights


def sigmoid(z: Float) -> Float:
    """Return 1 / (1 + exp(-z)) without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -z)))
