"""The second attempt: parts of a photo looked for by themselves and compared at twice the scale.

A photo that reaches past the imagery shows mostly ground that no tile has. A canvas around one of its ends is described like any other,
and the 30 m around that end are then slid over each rival: little ground, seen closely, tells more than much of it from afar.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.describe import Pose
from crossgeo.engine.fine import Spot
from crossgeo.engine.photo import Photo
from crossgeo.engine.photo_maps import DenseDescriber, Look
from crossgeo.engine.registration import Registration, RegistrationSettings
from crossgeo.engine.rivals import best_by_tile, suppress
from crossgeo.indexer.index import GeoIndex


@dataclass(frozen=True)
class PartSettings:
    """Which parts are looked for, and how closely."""

    parts: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.3, 0.0), (-0.3, 0.0), (0.0, 0.3), (0.0, -0.3))
    extent_m: float = 30.0  # of the close look
    hits: int = 50  # tiles kept for each pose
    rivals: int = 24  # compared closely
    close: RegistrationSettings = field(default_factory=lambda: RegistrationSettings(reach_px=64, min_cells=10.0))


class PartSearch:
    """Finds rivals by parts of photos."""

    def __init__(self, index: GeoIndex, describer: DenseDescriber, settings: PartSettings | None = None) -> None:
        self.settings = settings or PartSettings()
        self._index = index
        self._far = Registration(index, describer)
        self._close = Registration(index, describer, self.settings.close)

    def rivals(self, photo: Photo, poses: Sequence[Pose], ids: NDArray[np.int64] | None, min_distance_m: float) -> list[Spot]:
        """Return distinct rivals as places of the photo's centre, which may lie off the imagery, with the fit of the part seen closely.

        `ids` are the tiles to search, all unless given; rivals of one part lie at least `min_distance_m` apart.
        """
        parts = [part for part in self.settings.parts if _on_ground(photo, part, poses)]
        queries = np.concatenate([self._far.open(photo, Look(part)).describe(poses) for part in parts])  # (parts * poses, D)
        scores, hits = self._index.search(queries, self.settings.hits, ids)
        found = best_by_tile(scores, hits)
        places = self._index.lat_lon(np.array([rival.tile for rival in found], np.int64))
        chosen = suppress(found, places, min_distance_m, self.settings.rivals)
        coarse_m = self._index.stride_m * math.sqrt(0.5)
        spots = []
        for number, part in enumerate(parts):
            look = Look(part, self.settings.extent_m)
            own = []
            for rival in chosen:
                which, row = divmod(rival.pose, len(poses))
                if which == number:
                    pose = poses[row]
                    east_m, north_m = look.offset_m(photo, pose)
                    x, y = self._index.centres[rival.tile].tolist()
                    segment = self._index.segment_of(rival.tile)
                    own.append(Spot(segment, x - east_m, y - north_m, pose, rival.score, coarse_m, rival.tile))
            if own:
                maps = self._close.open(photo, look)
                swept = self._close.sweep(maps, own, poses)
                spots += self._close.register(maps, self._close.register(maps, swept), shrink=0.5)
        return spots


def _on_ground(photo: Photo, part: tuple[float, float], poses: Sequence[Pose]) -> bool:
    """Whether a part shows ground at every pose, and not sky at one."""
    try:
        for pose in poses:
            Look(part).offset_m(photo, pose)
    except ValueError:
        return False
    return True
