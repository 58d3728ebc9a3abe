"""Streets from where photos were taken, without a street map: paths through the photos that go on where they turn least."""

from __future__ import annotations

import math

import numpy as np
import shapely
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]

STEP_M = 15.0  # places nearer than this are one: two lanes, or a receiver's error, make no streets of their own
NEAR_M, NEAR_TURN_DEG = 50.0, 50.0  # a street that bends more sharply between two places ends there
FAR_M, FAR_TURN_DEG = 120.0, 20.0  # and over a gap without photos it has to go on nearly straight


def streets_of(xy: Float) -> Int:
    """Number the street that each of (N, 2) places in metres lies on, from 0; a place far from all others is a street of its own.

    Places are linked to their relative neighbours (Toussaint, 1980), and of the links that meet at a place those that turn least are one
    street: the rule of good continuation (Thomson and Richardson, 1999). A place where streets cross goes to the longest of those that go
    on through it. Stretches of one street that lie farther apart than `FAR_M` cannot be told from two streets.
    """
    xy = np.asarray(xy, np.float64).reshape(-1, 2)
    if len(xy) == 0:
        return np.zeros(0, np.int64)
    place_of, places = _thinned(xy)
    links = _relative_neighbours(places)
    if len(links) == 0:
        return place_of
    link_m = np.linalg.norm(places[links[:, 0]] - places[links[:, 1]], axis=1)
    stroke_of, goes_on = _strokes(places, links, np.where(link_m <= NEAR_M, NEAR_TURN_DEG, FAR_TURN_DEG))
    length_m = np.bincount(stroke_of, link_m)
    street = np.full(len(places), -1, np.int64)
    best = np.full(len(places), -1.0)
    for link, ends in enumerate(links):
        for end, place in enumerate(ends):
            worth = length_m[stroke_of[link]] * (1.0 if goes_on[link, end] else 1e-9)  # a street that only ends here comes last
            if worth > best[place] and (goes_on[link].any() or link_m[link] <= NEAR_M):
                best[place], street[place] = worth, stroke_of[link]
    alone = street < 0
    street[alone] = len(length_m) + np.arange(alone.sum())
    return np.unique(street[place_of], return_inverse=True)[1].astype(np.int64)


def _thinned(xy: Float) -> tuple[Int, Float]:
    """Return the number of each place's group, and (K, 2) middles of the groups: those within a step of the first of them."""
    around = _within(xy, STEP_M)
    group_of = np.full(len(xy), -1, np.int64)
    count = 0
    for first, near in enumerate(around):
        if group_of[first] < 0:
            group_of[near[group_of[near] < 0]] = count
            count += 1
    sizes = np.bincount(group_of, minlength=count)
    middles = np.stack([np.bincount(group_of, xy[:, axis], count) / sizes for axis in (0, 1)], axis=1)
    return group_of, middles


def _within(places: Float, reach_m: float) -> list[Int]:
    """Return for each of (N, 2) places the numbers of those within reach, itself among them, in order."""
    points = shapely.points(places)
    which, others = shapely.STRtree(points).query(points, predicate="dwithin", distance=reach_m)
    order = np.lexsort((others, which))
    return np.split(others[order].astype(np.int64), np.cumsum(np.bincount(which, minlength=len(places)))[:-1])


def _relative_neighbours(places: Float) -> Int:
    """Return (E, 2) pairs of places within reach that have no third place nearer to both of them than they are to each other."""
    near = _within(places, FAR_M)
    kept = []
    for a, b in ((one, int(other)) for one, found in enumerate(near) for other in found[found > one]):
        apart = math.dist(places[a], places[b])
        others = np.intersect1d(near[a], near[b])
        to_both = np.maximum(np.linalg.norm(places[others] - places[a], axis=1), np.linalg.norm(places[others] - places[b], axis=1))
        if not (to_both < apart - 1e-9).any():
            kept.append((a, b))
    return np.array(kept, np.int64).reshape(-1, 2)


def _strokes(places: Float, links: Int, limit_deg: Float) -> tuple[Int, NDArray[np.bool_]]:
    """Return the number of each link's stroke, and whether it goes on at its two ends (E, 2)."""
    at: dict[int, list[tuple[int, int]]] = {}  # links that meet at a place, with which of their ends
    for link, ends in enumerate(links):
        for end, place in enumerate(ends):
            at.setdefault(int(place), []).append((link, end))
    goes_on = np.zeros((len(links), 2), np.bool_)
    stroke = list(range(len(links)))  # a link's number leads on to that of its stroke, its least link

    def least(link: int) -> int:
        while stroke[link] != link:
            link = stroke[link]
        return link

    for place, meeting in at.items():
        away = [places[links[link, 1 - end]] - places[place] for link, end in meeting]
        turns = sorted((_turn_deg(away[i], away[j]), i, j) for i in range(len(meeting)) for j in range(i))
        taken: set[int] = set()
        for turn, i, j in turns:
            allowed = min(limit_deg[meeting[i][0]], limit_deg[meeting[j][0]])
            if turn <= allowed and i not in taken and j not in taken:
                taken |= {i, j}
                (one, one_end), (other, other_end) = meeting[i], meeting[j]
                goes_on[one, one_end] = goes_on[other, other_end] = True
                first, second = sorted((least(one), least(other)))
                stroke[second] = first
    return np.unique([least(link) for link in stroke], return_inverse=True)[1].astype(np.int64), goes_on


def _turn_deg(one: Float, other: Float) -> float:
    """How far a way turns that comes from one side and leaves to the other, both seen from the place between them."""
    cross, along = float(one[0] * other[1] - one[1] * other[0]), float(one @ other)
    return 180.0 - abs(math.degrees(math.atan2(cross, along)))
