"""The likeliest path through the rivals of a drive's photos (Viterbi 1967), and how likely each rival is on any path (Baum et al. 1970).

A photo takes one of its rivals or none. Rivals that are taken make chains; a chain begins at a cost, and goes on from a photo to one of the
next few where the way between is short enough. What is said in nats adds up to the logarithm of a probability, but for a constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
NONE = -1


@dataclass(frozen=True)
class Trellis:
    """T photos of up to K rivals each, in the order of the drive."""

    rivals: Float  # (T, K) nats of each rival, -inf where there is none
    links: tuple[Float, ...]  # of each gap g = 1 ... G: (T - g, K, K) nats of going from photo t to t + g; -inf where nobody can
    none_nats: float  # of a photo that takes none, negative
    begin_nats: float  # of a chain's beginning, negative

    def __post_init__(self) -> None:
        """Check the shapes."""
        many, k = self.rivals.shape
        assert all(link.shape == (max(0, many - gap), k, k) for gap, link in enumerate(self.links, start=1))


def best_path(trellis: Trellis) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each photo (T,) the rival that it takes, or NONE, and the photo that its chain comes from, NONE where it begins one.

    Of equal paths one is taken that takes rivals rather than none, and the first rivals.
    """
    many, k = trellis.rivals.shape
    ends = np.full((many, k), -np.inf)  # best of all that ends with a rival taken
    open_ = np.zeros(many + 1)  # best of the first t photos, however they end
    came = np.full((many, k, 2), NONE)  # photo and rival before
    how = np.full(many + 1, NONE)  # the rival that the last of the first t photos takes in the best of them
    for t in range(many):
        best = np.full(k, open_[t] + trellis.begin_nats)
        for gap, link in enumerate(trellis.links[:t], start=1):
            through = ends[t - gap][:, None] + link[t - gap] + (gap - 1) * trellis.none_nats  # (before, now)
            before = through.argmax(axis=0)
            value = through[before, np.arange(k)]
            better = value > best
            best = np.where(better, value, best)
            came[t, better] = np.stack([np.full(k, t - gap), before], axis=1)[better]
        ends[t] = best + trellis.rivals[t]
        last = int(ends[t].argmax()) if k else NONE
        skipped = open_[t] + trellis.none_nats
        taken = k > 0 and ends[t, last] >= skipped
        open_[t + 1], how[t + 1] = (ends[t, last], last) if taken else (skipped, NONE)
    ranks, links = np.full(many, NONE), np.full(many, NONE)
    t = many
    while t > 0:
        rank = int(how[t])
        t -= 1
        if rank == NONE:
            continue
        while True:
            ranks[t] = rank
            links[t], rank = (int(v) for v in came[t, rank])
            if links[t] == NONE:
                break
            t = int(links[t])
    return ranks, links


def marginals(trellis: Trellis) -> Float:
    """Return (T, K) probabilities that a photo takes each rival; what is left to 1 is that it takes none."""
    many, k = trellis.rivals.shape
    ends, open_ = np.full((many, k), -np.inf), np.zeros(many + 1)
    with np.errstate(divide="ignore"):
        for t in range(many):
            ways = [np.full((1, k), open_[t] + trellis.begin_nats)]
            for gap, link in enumerate(trellis.links[:t], start=1):
                ways.append(ends[t - gap][:, None] + link[t - gap] + (gap - 1) * trellis.none_nats)
            ends[t] = _sum(np.concatenate(ways)) + trellis.rivals[t]
            open_[t + 1] = _sum(np.append(ends[t], open_[t] + trellis.none_nats)[:, None])[0]
        # Of what follows: `after[t]` of photos t, t + 1, ... when no chain goes on, `onward[t]` when one may from each rival of photo t.
        after, onward = np.zeros(many + 1), np.zeros((many, k))
        for t in range(many - 1, -1, -1):
            ways = [np.full((1, k), after[t + 1])]
            for gap, link in enumerate(trellis.links[: many - 1 - t], start=1):
                follows = (trellis.rivals[t + gap] + onward[t + gap])[:, None]
                ways.append(link[t].T + follows + (gap - 1) * trellis.none_nats)
            onward[t] = _sum(np.concatenate(ways))
            begun = trellis.rivals[t] + onward[t] + trellis.begin_nats
            after[t] = _sum(np.append(begun, after[t + 1] + trellis.none_nats)[:, None])[0]
        return np.asarray(np.exp(ends + onward - open_[many]), np.float64)


def _sum(nats: Float) -> Float:
    """Logarithm of the sum of exponentials over the first axis; -inf where all are."""
    top = nats.max(axis=0)
    safe = np.where(np.isfinite(top), top, 0.0)
    return np.asarray(np.log(np.exp(nats - safe).sum(axis=0)) + safe, np.float64)
