"""Matching photos of one kind to an index: retrieval by descriptors, registration by feature maps, judgement, the 5 m step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from crossgeo.engine.agreement import Agreement, AgreementSettings
from crossgeo.engine.describe import Describer
from crossgeo.engine.feature_cache import FeatureCache
from crossgeo.engine.fine import FineSettings, FineStep, Spot
from crossgeo.engine.map_search import MapSearch, MapSearchSettings
from crossgeo.engine.parts import PartSearch, PartSettings
from crossgeo.engine.photo import Photo
from crossgeo.engine.photo_maps import DenseDescriber, PhotoMaps
from crossgeo.engine.pose import Pose
from crossgeo.engine.ranking import ranked
from crossgeo.engine.registration import Registration, RegistrationSettings
from crossgeo.engine.rivals import best_by_tile, hits_at, suppress
from crossgeo.engine.status import Thresholds
from crossgeo.engine.within import SETTLED_M, coarse_m, inside, near, tiles_around
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.select import Selection

JUDGED_REACH_M = 3.0  # as far as a part may stray when all of a photo is judged


@dataclass(frozen=True)
class MatchSettings:
    """How wide the search is cast."""

    fine: FineSettings = field(default_factory=FineSettings)
    hits: int = 100  # tiles kept for each pose, at a stride of 15 m (`rivals.hits_at`)
    maps: MapSearchSettings | None = None  # where maps are searched instead of descriptors
    settled: int = 6  # of the rivals that maps suggest, registered once more by `settling`
    settling: RegistrationSettings = field(default_factory=RegistrationSettings)
    agreement: AgreementSettings = field(default_factory=AgreementSettings)  # by which those are judged
    min_rival_distance_m: float = 25.0
    registration: RegistrationSettings = field(default_factory=RegistrationSettings)
    registered_rivals: int = 12  # whose feature maps are compared with the photo's; the order is theirs from then on
    sure_merit: float = 0.65  # where none of those reaches it, parts of the photo are looked for, too
    parts: PartSettings | None = field(default_factory=PartSettings)  # None: rivals are judged by the registration's fit alone
    clicks_register: bool = True  # the ground around a click moves the place; a street photo's clicks stand up from it
    fine_rivals: int = 3
    fine_gap: float = 0.2  # rivals this far below the best are not refined


class Matcher:
    """Finds where photos of one kind fit in an index; keeps the cells of the 5 m step between questions."""

    def __init__(self, index: GeoIndex, describer: Describer, settings: MatchSettings, cells: FeatureCache | None = None) -> None:
        """Join an index and a describer; `cells` keeps descriptors of the 5 m step's cells, for other matchers, too."""
        self.index, self.describer, self.settings = index, describer, settings
        self.thresholds = Thresholds.from_card(describer.card)
        self.fine = FineStep(index, describer, replace(settings.fine, temperature=self.thresholds.temperature), cells)
        self._registration: Registration | None = None
        self._parts: PartSearch | None = None
        self._maps: MapSearch | None = None
        if isinstance(describer, DenseDescriber):
            if settings.maps is not None:
                self._maps = MapSearch(index, describer, settings.maps)
                self._settling = Registration(index, describer, settings.settling)
                self._agreement = Agreement(index, describer, settings.agreement)
            self._registration = Registration(index, describer, settings.registration)
            if settings.parts is not None:
                self._parts = PartSearch(index, describer, settings.parts)

    def match(self, photo: Photo, poses: Sequence[Pose], selection: Selection | None, top: int, timings: dict[str, float]) -> list[Spot]:
        """Return the best distinct rivals, refined, best first; more than `top` where that helps to judge them.

        With a selection, only such as lie in it; `timings` gets milliseconds by stage.
        """
        first = self.settings.registered_rivals
        maps = None if self._registration is None else self._registration.open(photo)
        spots = self._mapped(maps, poses, selection, timings) if maps is not None else []
        if not spots:
            spots = self._retrieve(photo, poses, selection, max(top, 2, first), maps, timings)
            if maps is not None:
                with timed(timings, "register"):
                    spots = self._registered(photo, maps, poses, selection, spots, first)
        with timed(timings, "fine"):
            spots = self._refined(photo, maps, spots, selection)
        if self._maps is not None and maps is not None and spots:
            with timed(timings, "judge"):
                spots = self._agreed(photo, maps, spots)
        return spots

    def turned_finely(self, photo: Photo, spot: Spot, heading_deg: float | None) -> Spot:
        """Return the spot with its heading settled to about a degree, near one against grid north if that is known."""
        if self._maps is None:
            return spot
        return self._settling.settle_heading(self._settling.open(photo), spot, heading_deg)

    def at_click(self, photo: Photo, click_px: tuple[float, float], spot: Spot) -> Spot:
        """Return the spot corrected by what lies around a click (decoded pixels)."""
        if self._registration is None or not self.settings.clicks_register:
            return spot
        return self._registration.register_click(photo, click_px, spot)

    def _mapped(self, maps: PhotoMaps, poses: Sequence[Pose], selection: Selection | None, timings: dict[str, float]) -> list[Spot]:
        """The rivals that a search by maps finds, in the order of how well they fit finely; none where it is not made or finds nothing."""
        if self._maps is None or self._registration is None:
            return []
        with timed(timings, "describe"):
            maps.describe(poses)
        with timed(timings, "search"):
            spots = self._maps.rivals(maps, poses, selection)
        with timed(timings, "register"):
            spots = self._ranked(self._registration.register(maps, spots))
            # Turn, height and pitch stand in for one another, so they are settled together, and twice.
            settled = self._settling.register(maps, self._settling.register(maps, spots[: self.settings.settled]), shrink=0.5)
            return self._ranked(near(selection, [*settled, *spots[self.settings.settled :]], SETTLED_M))

    def _agreed(self, photo: Photo, maps: PhotoMaps, spots: list[Spot]) -> list[Spot]:
        """The leading rivals in the order of how well all of the photo agrees with each, before the others.

        The photo as a whole, its parts by themselves and the descriptors of photo and ground just there have a third of the say each.
        """
        leading = spots[: self.settings.settled]
        photos = maps.describe([spot.pose for spot in leading])
        tiles = []
        for spot in leading:
            east_m, north_m = spot.pose.offset_m(photo)
            x, y = spot.x + east_m, spot.y + north_m
            tiles.append(self.index.read_window(spot.segment, x, y, self.index.tile_m, self.index.tile_px)[0])
        cosines = (photos * self.describer.tiles(np.stack(tiles))).sum(axis=1).tolist()
        parts = self._agreement.judge(photo, leading)
        own = zip(leading, parts, cosines, strict=True)
        judged = [replace(spot, score=cosine, fit=0.5 * ((spot.fit or 0.0) + (part.fit or 0.0))) for spot, part, cosine in own]
        rest = [replace(spot, fit=0.0) for spot in spots[len(leading) :]]  # their fits are of another kind
        return self._ranked([*judged, *rest])

    def _retrieve(
        self,
        photo: Photo,
        poses: Sequence[Pose],
        selection: Selection | None,
        count: int,
        maps: PhotoMaps | None,
        timings: dict[str, float],
    ) -> list[Spot]:
        """The best distinct rivals, coarse: the photo's canvas lies where its tile is centred."""
        settings = self.settings
        with timed(timings, "describe"):
            queries = self.describer.photo(photo, poses) if maps is None else maps.describe(poses)
        with timed(timings, "search"):
            offsets = [pose.offset_m(photo) for pose in poses]
            tiles = tiles_around(self.index, selection, offsets)
            scores, hits = self.index.search(queries, hits_at(settings.hits, self.index.stride_m), tiles)
            rivals = best_by_tile(scores, hits)
            places = self.index.lat_lon(np.array([rival.tile for rival in rivals], np.int64))
            rivals = suppress(rivals, places, settings.min_rival_distance_m, max(count, settings.fine_rivals))
        reach_m = coarse_m(self.index)
        spots = []
        for rival in rivals:
            x, y = self.index.centres[rival.tile].tolist()
            east_m, north_m = offsets[rival.pose]
            segment = self.index.segment_of(rival.tile)
            spots.append(Spot(segment, x - east_m, y - north_m, poses[rival.pose], rival.score, reach_m, rival.tile))
        return near(selection, spots, reach_m)

    def _registered(
        self, photo: Photo, maps: PhotoMaps, poses: Sequence[Pose], selection: Selection | None, spots: list[Spot], first: int
    ) -> list[Spot]:
        """The rivals in the order of how well feature maps fit, each moved to its best fit."""
        assert self._registration is not None
        swept = self._registration.sweep(maps, spots[:first], poses) if spots else []
        registered = self._ranked(near(selection, self._registration.register(maps, swept), SETTLED_M))
        if self._parts is None:
            return registered
        judged = self.settings.parts.judged if self.settings.parts else 0
        leading = self._registration.register(maps, registered[:judged], shrink=0.5)
        sure = self._judged(photo, self._parts, poses, selection, leading)
        rest = [*registered[judged:], *spots[first:]]
        return self._ranked([*sure, *(replace(spot, fit=0.0) for spot in rest)])  # their fits are of another kind

    def _judged(
        self, photo: Photo, parts: PartSearch, poses: Sequence[Pose], selection: Selection | None, registered: list[Spot]
    ) -> list[Spot]:
        """The rivals judged by all of the photo, best first, and with them what its parts suggest until one convinces."""
        judged = self._ranked(parts.judge(photo, registered))
        for part in parts.settings.parts:
            if judged and judged[0].merit >= self.settings.sure_merit:
                break
            judged = self._ranked([*judged, *parts.rivals(photo, part, poses, selection)])
        return judged

    def _refined(self, photo: Photo, maps: PhotoMaps | None, spots: list[Spot], selection: Selection | None) -> list[Spot]:
        """The leading rivals moved by the 5 m step, and all that lie in the selection in the order of their merit."""
        if not spots:
            return []
        best = spots[0].merit
        leading = [spot for spot in spots[: self.settings.fine_rivals] if spot.merit >= best - self.settings.fine_gap]
        refined = self.fine.refine(photo, leading)
        moved: list[Spot | None] = []
        if self._registration is not None and maps is not None:
            # The descriptors' best cell may lie off the fit that was found: both are fitted finely, and the better stands.
            fits = self._registration.register(maps, [*refined, *leading], shrink=0.5)
            for own, cell, *fitted in zip(leading, refined, fits[: len(refined)], fits[len(refined) :], strict=True):
                choose = _settled if self._parts is not None else _better
                moved.append(choose(own, cell, inside(selection, [own]), inside(selection, fitted)))
        else:
            moved += [next(iter(inside(selection, [cell, own])), None) for own, cell in zip(leading, refined, strict=True)]
        return self._ranked([*(spot for spot in moved if spot is not None), *inside(selection, spots[len(leading) :])])

    def _ranked(self, spots: Iterable[Spot]) -> list[Spot]:
        return ranked(spots, self.settings.min_rival_distance_m)


def _settled(judged: Spot, refined: Spot, stays: list[Spot], fits: list[Spot]) -> Spot | None:
    """A placement that all of the photo was judged at, moved to the best fit near it: a fit of its middle alone may not move it far.

    `stays` holds it again where it may stand as it is; None where neither it nor a fit may.
    """
    close = [fit for fit in fits if math.hypot(fit.x - judged.x, fit.y - judged.y) <= JUDGED_REACH_M]
    best = max([*stays, *close], key=lambda spot: spot.merit, default=None)
    if best is None:
        return None
    apart_m = math.hypot(best.x - refined.x, best.y - refined.y)
    return replace(best, radius_m=min(best.radius_m, refined.radius_m + apart_m), score=judged.score, fit=judged.fit)


def _better(spot: Spot, refined: Spot, stays: list[Spot], fits: list[Spot]) -> Spot | None:
    """The best fit around a placement that was judged by fits of the same kind, `stays` and None as in `_settled`."""
    best = max([*stays, *fits], key=lambda found: found.merit, default=None)
    if best is None:
        return None
    apart_m = math.hypot(best.x - refined.x, best.y - refined.y)
    return replace(best, radius_m=min(spot.radius_m, refined.radius_m + apart_m))


@contextmanager
def timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Add the milliseconds that a block takes to those of a stage."""
    start = time.perf_counter()
    yield
    timings[stage] = timings.get(stage, 0.0) + (time.perf_counter() - start) * 1000.0
