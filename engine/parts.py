"""Parts of a photo looked for by themselves and compared at twice the scale.

A photo that reaches past the imagery shows mostly ground that no tile has. A canvas around one of its ends is described like any other,
and the 30 m around that end are then slid over each rival: little ground, seen closely, tells more than much of it from afar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from crossgeo.engine.agreement import Agreement
from crossgeo.engine.fine import Spot
from crossgeo.engine.photo import Photo
from crossgeo.engine.photo_maps import DenseDescriber, Look, PhotoMaps
from crossgeo.engine.pose import Part, Pose
from crossgeo.engine.registration import Registration, RegistrationSettings
from crossgeo.engine.rivals import best_by_tile, hits_at, thinned
from crossgeo.engine.surfaces import Overlap
from crossgeo.engine.within import SETTLED_M, coarse_m, near, tiles_around
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.select import Selection


@dataclass(frozen=True)
class PartSettings:
    """Which parts are looked for, and how closely."""

    parts: tuple[Part, ...] = ((0.3, 0.0), (-0.3, 0.0), (0.0, 0.3), (0.0, -0.3))  # one after the other until one convinces
    extent_m: float = 30.0  # of the close look
    hits: int = 50  # tiles kept for each pose, at a stride of 15 m (`rivals.hits_at`)
    rivals: int = 24  # tiles of each part that are compared closely
    poses: int = 48  # at which each is, those that its descriptor likes best
    hypotheses: int = 3  # of each tile, that differ in turn or scale
    registered: int = 10  # of each part whose pose is found finely
    judged: int = 4  # of each part, by all of the photo
    close: RegistrationSettings = field(default_factory=lambda: RegistrationSettings(reach_px=80, overlap=Overlap(min_cells=10.0)))


class PartSearch:
    """Finds rivals by parts of photos."""

    def __init__(self, index: GeoIndex, describer: DenseDescriber, settings: PartSettings | None = None) -> None:
        self.settings = settings or PartSettings()
        self._index = index
        self._describer = describer
        self._close = Registration(index, describer, self.settings.close)
        self._agreement = Agreement(index, describer)

    def judge(self, photo: Photo, spots: Sequence[Spot]) -> list[Spot]:
        """Return the first few spots with how far all of the photo agrees with each as their fit."""
        return self._agreement.judge(photo, spots[: self.settings.judged])

    def rivals(self, photo: Photo, part: Part, poses: Sequence[Pose], selection: Selection | None) -> list[Spot]:
        """Return rivals that a part suggests, as places of the photo's centre, which may lie off the imagery, judged by all of the photo.

        With a selection they lie in it, or so near that they may yet come to. There are none where the part shows sky.
        """
        if not _on_ground(photo, part, poses):
            return []
        spots = self._of_part(photo, part, poses, selection)
        return self.judge(photo, sorted(spots, key=lambda spot: -spot.merit))

    def _of_part(self, photo: Photo, part: Part, poses: Sequence[Pose], selection: Selection | None) -> list[Spot]:
        ids = tiles_around(self._index, selection, [pose.offset_m(photo, part) for pose in poses])
        queries = PhotoMaps(self._describer, photo, Look(part)).describe(poses)  # (P, D)
        found = best_by_tile(*self._index.search(queries, hits_at(self.settings.hits, self._index.stride_m), ids))
        tiles = np.array([rival.tile for rival in found], np.int64)
        apart = thinned(found, self._index.centres[tiles], self._index.segment_numbers[tiles], self._index.stride_m)
        found = apart[: self.settings.rivals]
        cosines = self._index.descriptors(np.array([rival.tile for rival in found], np.int64)) @ queries.T  # (rivals, P)
        look, reach_m = Look(part, self.settings.extent_m), coarse_m(self._index)
        maps = self._close.open(photo, look)
        spots: list[Spot] = []
        likely_of = [[poses[number] for number in np.argsort(-row, kind="stable")[: self.settings.poses]] for row in cosines]
        maps.make(pose for likely in likely_of for pose in likely)  # of all rivals together
        for rival, likely in zip(found, likely_of, strict=True):
            east_m, north_m = look.offset_m(photo, poses[rival.pose])
            x, y = self._index.centres[rival.tile].tolist()
            segment = self._index.segment_of(rival.tile)
            spot = Spot(segment, x - east_m, y - north_m, poses[rival.pose], rival.score, reach_m, rival.tile)
            spots += self._close.hypotheses(maps, spot, likely, self.settings.hypotheses)
        spots = sorted(near(selection, spots, reach_m), key=lambda spot: -spot.merit)[: self.settings.registered]
        return near(selection, self._close.register(maps, self._close.register(maps, spots), shrink=0.5), SETTLED_M)


def _on_ground(photo: Photo, part: Part, poses: Sequence[Pose]) -> bool:
    """Whether a part shows ground at every pose, and not sky at one."""
    try:
        for pose in poses:
            Look(part).offset_m(photo, pose)
    except ValueError:
        return False
    return True
