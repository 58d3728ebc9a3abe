"""GeoSearch: a photo against an index; retrieval over poses, registration, agreement, the 5 m step, status, and the clicked object."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.describe import Describer, DroneDescriber, Pose
from crossgeo.engine.fine import FineSettings, FineStep, Spot
from crossgeo.engine.locate import Locator, ObjectFinder
from crossgeo.engine.parts import PartSearch, PartSettings
from crossgeo.engine.photo import Photo
from crossgeo.engine.photo_maps import DenseDescriber, PhotoMaps
from crossgeo.engine.place import Answer, FoundObject, Place, Status
from crossgeo.engine.poses import MAX_TILT_DEG, Camera, PoseSettings, camera_of, poses_to_try, without_exif
from crossgeo.engine.registration import Registration
from crossgeo.engine.rivals import Rival, best_by_tile, suppress
from crossgeo.engine.status import Thresholds, status_of
from crossgeo.errors import InputError, UsageError
from crossgeo.geodesy import grid_convergence_deg, to_lat_lon
from crossgeo.indexer.index import GeoIndex

DEFAULT_NEAR_RADIUS_M = 250.0
JUDGED_REACH_M = 3.0  # as far as a part may stray when all of a photo is judged


@dataclass(frozen=True)
class SearchSettings:
    """How wide the search is cast."""

    poses: PoseSettings = field(default_factory=PoseSettings)
    fine: FineSettings = field(default_factory=FineSettings)
    hits: int = 100  # tiles kept for each pose
    min_rival_distance_m: float = 25.0
    registered_rivals: int = 12  # whose feature maps are compared with the photo's; the order is theirs from then on
    sure_merit: float = 0.65  # where none of those reaches it, parts of the photo are looked for, too
    parts: PartSettings = field(default_factory=PartSettings)
    fine_rivals: int = 3
    fine_gap: float = 0.2  # rivals this far below the best are not refined


class GeoSearch:
    """One open index with its models; answers photos. A context manager."""

    def __init__(
        self, index: GeoIndex, describer: Describer, objects: str | Locator | None = None, settings: SearchSettings | None = None
    ) -> None:
        """Join an index and a describer of the same weights (MismatchError otherwise); `objects` are weights, loaded at the first click."""
        index.check_model(describer.identity)
        self.index, self.describer = index, describer
        self.thresholds = Thresholds.from_card(describer.card)
        self.settings = settings or SearchSettings()
        self._fine = FineStep(index, describer, replace(self.settings.fine, temperature=self.thresholds.temperature))
        self._registration = Registration(index, describer) if isinstance(describer, DenseDescriber) else None
        self._parts = PartSearch(index, describer, self.settings.parts) if isinstance(describer, DenseDescriber) else None
        self._objects = objects

    @classmethod
    def open(
        cls,
        index: str | Path,
        weights: str = "egotr-s-drone",
        object_weights: str | None = "attengeo-s-drone",
        settings: SearchSettings | None = None,
    ) -> GeoSearch:
        """Open an index folder and the weights by shipped name or path.

        Raises StoreError for a damaged index, WeightsError for missing or damaged weights, MismatchError when they do not go together.
        """
        describer = DroneDescriber.load(weights)
        opened = GeoIndex.open(Path(index))
        try:
            return cls(opened, describer, object_weights, settings)
        except BaseException:
            opened.close()
            raise

    def close(self) -> None:
        """Close the index."""
        self.index.close()

    def __enter__(self) -> GeoSearch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def query(
        self,
        photo: Photo | str | Path | bytes,
        point: tuple[float, float] | None = None,
        top: int = 5,
        heading_deg: float | None = None,
        fov_deg: float | None = None,
        height_m: float | None = None,
        near: tuple[float, float] | None = None,
        radius_m: float | None = None,
        use_exif_position: bool = False,
        tilt_deg: float | None = None,
    ) -> Answer:
        """Find where a photo was taken and, with a `point` (x, y) in its upright full-size pixels, the object there.

        heading_deg: of the photo's upper edge against true north; fov_deg: horizontal; height_m: above ground; tilt_deg: 0 is
        straight down; each one given wins over EXIF, whose heading and height are dropped where they lead nowhere.
        near (lat, lon) with radius_m (250 unless given) keeps the imagery that is searched there; the centre of a photo that shows its
        rim may lie beyond. use_exif_position takes near from the photo.
        Raises UsageError for arguments out of range or a point outside the photo, InputError or LimitError for a photo that we cannot read.
        """
        timings: dict[str, float] = {}
        with _timed(timings, "decode"):
            picture = photo if isinstance(photo, Photo) else Photo.read(photo)
        if top < 1:
            raise UsageError(f"top must be at least 1, not {top}")
        click = picture.check_point(point) if point is not None else None
        near, radius_m = self._prior(picture, near, radius_m, use_exif_position)
        camera = camera_of(picture, heading_deg, fov_deg, height_m, tilt_deg)
        # A circle between the centres of tiles still lies on imagery, so it is never taken smaller than the stride.
        ids = self.index.ids_near(*near, max(radius_m, self.index.stride_m)) if near is not None and radius_m is not None else None
        if len(self.index) == 0 or (ids is not None and len(ids) == 0):
            return self._answer(picture, "outside_coverage", [], None, camera, timings)
        spots = self._search(picture, camera, ids, top, timings)
        status = status_of([spot.merit for spot in spots], self.thresholds)
        free = without_exif(camera, heading_deg, height_m)
        if status != "located" and free != camera:  # compasses and barometers err; what the file says is a hint, not an order
            others = self._search(picture, free, ids, top, timings)
            if others[0].merit > spots[0].merit:
                camera, spots, status = free, others, status_of([spot.merit for spot in others], self.thresholds)
        found = None
        if click is not None and status in ("located", "ambiguous"):
            with _timed(timings, "object"):
                at = spots[0] if self._registration is None else self._registration.register_click(picture, click, spots[0])
                found = self._locator().find(picture, click, at)
        return self._answer(picture, status, spots[:top], found, camera, timings)

    def _search(
        self, picture: Photo, camera: Camera, ids: NDArray[np.int64] | None, top: int, timings: dict[str, float]
    ) -> list[Spot]:
        """The best distinct rivals, refined, best first; more than `top` where that helps to judge them."""
        first = self.settings.registered_rivals
        maps = None if self._registration is None else self._registration.open(picture)
        poses, spots = self._retrieve(picture, camera, ids, max(top, 2, first), maps, timings)
        if self._registration is not None and maps is not None:
            with _timed(timings, "register"):
                registered = self._ranked(self._registration.register(maps, self._registration.sweep(maps, spots[:first], poses)))
                leading = self._registration.register(maps, registered[: self.settings.parts.judged], shrink=0.5)
                judged = self._judged(picture, poses, ids, leading)
                rest = [*registered[self.settings.parts.judged :], *spots[first:]]
                spots = self._ranked([*judged, *(replace(spot, fit=0.0) for spot in rest)])  # their fits are of another kind
        with _timed(timings, "fine"):
            best = spots[0].merit
            leading = [spot for spot in spots[: self.settings.fine_rivals] if spot.merit >= best - self.settings.fine_gap]
            refined = self._fine.refine(picture, leading)
            if self._registration is not None and maps is not None:
                # The descriptors' best cell may lie off the fit that was found: both are fitted finely, and the better stands.
                fits = self._registration.register(maps, [*refined, *leading], shrink=0.5)
                pairs = zip(leading, refined, fits[: len(refined)], fits[len(refined) :], strict=True)
                refined = [_settled(*own) for own in pairs]
            return self._ranked([*refined, *spots[len(leading) :]])

    def _judged(self, picture: Photo, poses: list[Pose], ids: NDArray[np.int64] | None, registered: list[Spot]) -> list[Spot]:
        """The rivals judged by all of the photo, best first, and with them what its parts suggest until one convinces."""
        assert self._parts is not None
        judged = self._ranked(self._parts.judge(picture, registered))
        for part in self.settings.parts.parts:
            if judged[0].merit >= self.settings.sure_merit:
                break
            judged = self._ranked([*judged, *self._parts.rivals(picture, part, poses, ids)])
        return judged

    def _prior(
        self, photo: Photo, near: tuple[float, float] | None, radius_m: float | None, use_exif_position: bool
    ) -> tuple[tuple[float, float] | None, float | None]:
        if use_exif_position and near is None:
            if photo.exif.lat is None or photo.exif.lon is None:
                raise InputError(f"{photo.name}: its EXIF holds no position to start from; give one, or search without it")
            near = (photo.exif.lat, photo.exif.lon)
        if near is None:
            if radius_m is not None:
                raise UsageError("a radius needs a place to be around; give it with near")
            return None, None
        if not (-90.0 <= near[0] <= 90.0 and -180.0 <= near[1] <= 180.0):
            raise UsageError(f"near {near[0]:g},{near[1]:g} is not a place: it is lat,lon with lat within 90 and lon within 180 degrees")
        if radius_m is not None and not (0.0 < radius_m < math.inf):
            raise UsageError(f"the radius must be positive metres, not {radius_m:g}")
        return near, radius_m if radius_m is not None else DEFAULT_NEAR_RADIUS_M

    def _retrieve(
        self,
        photo: Photo,
        camera: Camera,
        ids: NDArray[np.int64] | None,
        count: int,
        maps: PhotoMaps | None,
        timings: dict[str, float],
    ) -> tuple[list[Pose], list[Spot]]:
        """The poses tried, and the best distinct rivals, coarse: each where its tile is centred."""
        settings = self.settings
        poses = poses_to_try(camera, settings.poses, self._convergence_deg())
        with _timed(timings, "describe"):
            queries = self.describer.photo(photo, poses) if maps is None else maps.describe(poses)
        with _timed(timings, "search"):
            scores, hits = self.index.search(queries, settings.hits, ids)
            rivals = best_by_tile(scores, hits)
            places = self.index.lat_lon(np.array([rival.tile for rival in rivals], np.int64))
            rivals = suppress(rivals, places, settings.min_rival_distance_m, max(count, settings.fine_rivals))
        coarse_m = self.index.stride_m * math.sqrt(0.5)
        spots = []
        for rival in rivals:
            x, y = self.index.centres[rival.tile].tolist()
            spots.append(Spot(self.index.segment_of(rival.tile), x, y, poses[rival.pose], rival.score, coarse_m, rival.tile))
        return poses, spots

    def _ranked(self, spots: list[Spot]) -> list[Spot]:
        """Order spots by merit and drop those that came to lie on a better one."""
        spots = sorted(spots, key=lambda spot: -spot.merit)
        places = np.array([to_lat_lon(spot.segment.crs, spot.x, spot.y) for spot in spots])
        rivals = [Rival(number, 0, spot.merit) for number, spot in enumerate(spots)]
        return [spots[kept.tile] for kept in suppress(rivals, places, self.settings.min_rival_distance_m, len(spots))]

    def _convergence_deg(self) -> float:
        """Grid against true north in the middle of the index's segments; exact within a degree, which the 5 m step takes up."""
        angles = []
        for segment in self.index.segments:
            x_min, y_min, x_max, y_max = segment.bounds
            angles.append(grid_convergence_deg(segment.crs, 0.5 * (x_min + x_max), 0.5 * (y_min + y_max)))
        return float(np.mean(angles))

    def _locator(self) -> Locator:
        if self._objects is None:
            raise UsageError("no object weights were opened; give object_weights to ask for a point")
        if isinstance(self._objects, str):
            self._objects = ObjectFinder.load(self.index, self._objects)
        return self._objects

    def _answer(
        self, photo: Photo, status: Status, spots: list[Spot], found: FoundObject | None, camera: Camera, timings: dict[str, float]
    ) -> Answer:
        timings["total"] = sum(timings.values())
        places = tuple(self._place(spot, camera) for spot in spots)
        return Answer(photo.name, status, places, found, self.index.manifest.generation, self.describer.identity.name, timings)

    def _place(self, spot: Spot, camera: Camera) -> Place:
        crs = spot.segment.crs
        lat, lon = to_lat_lon(crs, spot.x, spot.y)
        heading = (spot.pose.heading_deg + grid_convergence_deg(crs, spot.x, spot.y)) % 360.0
        above = None
        if camera.tilt_deg is not None and camera.height_m is not None and camera.tilt_deg <= MAX_TILT_DEG:
            back_m = camera.height_m * math.tan(math.radians(camera.tilt_deg))  # the camera stands behind the ground it looks at
            angle = math.radians(spot.pose.heading_deg)
            above = to_lat_lon(crs, spot.x - back_m * math.sin(angle), spot.y - back_m * math.cos(angle))
        pose = spot.pose
        return Place(lat, lon, spot.radius_m, heading, spot.merit, spot.tile, pose.width_m, pose.tilt_deg, pose.fov_deg, above)


def _settled(judged: Spot, refined: Spot, *fits: Spot) -> Spot:
    """A placement that all of the photo was judged at, moved to the best fit near it: a fit of its middle alone may not move it far."""
    near = [fit for fit in fits if math.hypot(fit.x - judged.x, fit.y - judged.y) <= JUDGED_REACH_M]
    best = max([judged, *near], key=lambda spot: spot.merit)
    apart_m = math.hypot(best.x - refined.x, best.y - refined.y)
    return replace(best, radius_m=min(best.radius_m, refined.radius_m + apart_m), score=judged.score, fit=judged.fit)


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[stage] = timings.get(stage, 0.0) + (time.perf_counter() - start) * 1000.0
