"""GeoSearch: a photo in, its place out, and with a point the object there. Opened once, asked many times.

Photos are placed north up at the scale of the imagery, each kind in its own way; headings, scales and what else is unknown are tried in one
batch. What flew and what stood in the street has a matcher of its own over the one index.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np

from crossgeo.engine.calibrate.judge import Judge, as_judged
from crossgeo.engine.camera import Camera, Kind, camera_of, check_known, without_exif
from crossgeo.engine.cells import MEMORY_BYTES as CELL_BYTES
from crossgeo.engine.clicks import Standing, at_point, at_points, checked
from crossgeo.engine.describe import AUTO, Describer, EgoTRDescriber
from crossgeo.engine.doubts import doubted, one_question
from crossgeo.engine.feature_cache import CELLS, DISK_BYTES, FeatureCache, for_windows
from crossgeo.engine.fine import Spot
from crossgeo.engine.kinds import looks_like_street
from crossgeo.engine.locate import Locator, ObjectFinder
from crossgeo.engine.matcher import Matcher, timed
from crossgeo.engine.notes import NO_GROUND, NOT_BELIEVED, NOTHING_INSIDE, camera_notes
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer, Clicked, FoundObject
from crossgeo.engine.pose import Pose
from crossgeo.engine.poses import poses_to_try, street_poses_to_try
from crossgeo.engine.ranking import ranked
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.engine.runtime.pictures import of_index
from crossgeo.engine.search_settings import SearchSettings
from crossgeo.engine.sights import place_of
from crossgeo.engine.status import status_of
from crossgeo.engine.trace import Found, Trace
from crossgeo.engine.within import inside
from crossgeo.engine.zones import Zone, zones_of
from crossgeo.errors import MismatchError, UsageError
from crossgeo.geodesy import grid_convergence_deg
from crossgeo.indexer.filters import Bounds, Filters
from crossgeo.indexer.index import GeoIndex, OpenRows
from crossgeo.indexer.select import Selection, Selector
from crossgeo.models.library import shipped_weights
from crossgeo.models.street_view import StreetObjectView

LEAST_GROUND = 0.01  # of the square of ground that describes a street photo
_STREET_OBJECTS = "attengeo-s-street"
_WARMING = 16  # questions at once, as the poses of a photo are


class GeoSearch:
    """One open index with its models; answers photos, from several threads at once if asked so. A context manager.

    ```python
    with GeoSearch.open("city.geo") as search:
        answer = search.query("photo.jpg", point=(512, 384))
    print(answer.status, answer.to_json())
    ```
    """

    def __init__(
        self,
        index: GeoIndex,
        describer: Describer,
        objects: str | Locator | None = None,
        settings: SearchSettings | None = None,
        street: Describer | None = None,
        street_objects: str | Locator | None = None,
        features: FeatureCache | None = None,
        runtime: RuntimeOptions | None = None,
        cells: FeatureCache | None = None,
    ) -> None:
        """Join an index and describers of the same aerial weights (MismatchError otherwise), of drone photos and of street photos.

        `objects` and `street_objects` are weights, loaded at the first click to run as `runtime` says; what they make of windows goes to
        `features`, the descriptors of the 5 m step's cells to `cells`; both are closed with the search.
        """
        self._cells = cells or FeatureCache(CELL_BYTES, form=CELLS)
        self._selector = Selector(index)
        self.index, self.settings = index, settings or SearchSettings()
        self.matchers: dict[Kind, Matcher] = {}
        for kind, own, how in (("drone", describer, self.settings.drone), ("street", street, self.settings.street)):
            if own is not None:
                index.check_model(own.identity)
                self.matchers["drone" if kind == "drone" else "street"] = Matcher(index, own, how, self._cells)
        self.thresholds = self.matchers["drone"].thresholds
        self.judge = Judge.of(index.calibration, self.models, self.settings)
        self.locators: dict[Kind, str | Locator | None] = {"drone": objects, "street": street_objects}
        self._loading = Lock()
        self._features, self._runtime = features or FeatureCache(), runtime or RuntimeOptions()

    @classmethod
    def open(
        cls,
        index: str | Path,
        weights: str = "egotr-s-drone",
        object_weights: str | None = "attengeo-s-drone",
        settings: SearchSettings | None = None,
        street_weights: str | None = AUTO,
        street_object_weights: str | None = AUTO,
        feature_cache: str | Path | None = None,
        feature_cache_bytes: int = DISK_BYTES,
        feature_gpu_bytes: int | None = None,
        runtime: RuntimeOptions | None = None,
        rows: OpenRows | None = None,
    ) -> GeoSearch:
        """Open an index folder and the weights by shipped name or path; without `street_weights` every photo is taken for a drone's.

        `feature_cache` is a folder, which several processes may share, where what the object models make of windows of imagery is kept
        for later clicks, and the descriptors of the 5 m step's cells for later questions about the same ground: up to
        `feature_cache_bytes` together, a quarter of it for the cells; a folder that cannot be used is no error, but is told by `metrics`.
        On a GPU `feature_gpu_bytes` of windows (2 GiB, or an eighth of its memory, unless told) stay there: a second click moves its
        photo alone.
        `runtime` says how the models run; engines that it builds are checked on the index's own tiles. `rows` says who searches the
        index's descriptors, where that is not this process (`engine.serving`).
        Raises StoreError for a damaged index, WeightsError for missing or damaged weights, MismatchError when they do not go together, and
        EngineError for a runtime that cannot be had.
        """
        if street_object_weights == AUTO:
            street_object_weights = _STREET_OBJECTS if _STREET_OBJECTS in shipped_weights() else None
        opened = GeoIndex.open(Path(index), rows)
        try:
            opened.to("cpu" if runtime is None else runtime.device)
            describer = EgoTRDescriber.load(weights, runtime, lambda: of_index(opened))
            street = describer.street_side(street_weights, runtime, lambda: of_index(opened))
            folder, windows = None if feature_cache is None else Path(feature_cache), for_windows(feature_cache_bytes)
            features = FeatureCache(folder=folder, disk_bytes=windows, device_bytes=feature_gpu_bytes)
            cells = FeatureCache(CELL_BYTES, folder, feature_cache_bytes - windows, CELLS)
            return cls(opened, describer, object_weights, settings, street, street_object_weights, features, runtime, cells)
        except BaseException:
            opened.close()
            raise

    def with_street(self, street_weights: str | None) -> GeoSearch:
        """Return a search of the same index with other weights for street photos, as `open` takes them; it is open as long as this one.

        Raises WeightsError and MismatchError as `open` does.
        """
        describer = self.matchers["drone"].describer
        assert isinstance(describer, EgoTRDescriber)  # as `open` makes it
        street = describer.street_side(street_weights, self._runtime, lambda: of_index(self.index))
        objects = self.locators["drone"], self.settings, street, self.locators["street"]
        return GeoSearch(self.index, describer, *objects, self._features, self._runtime, self._cells)

    def renewed(self) -> GeoSearch:
        """Return a search of the generation of the index that is current on disk, with the same models and what they have made.

        Each of the two is closed by itself. Raises as `open` does, MismatchError for an index of other weights by now.
        """
        index = self.index.renewed()
        try:
            index.to(self._runtime.device)
            with self._loading:
                drone, street = (own.over(index) if isinstance(own, ObjectFinder) else own for own in self.locators.values())
            aerial, ground = self.matchers["drone"].describer, self.matchers["street"].describer if "street" in self.matchers else None
            new = GeoSearch(index, aerial, drone, self.settings, ground, street, self._features, self._runtime, self._cells)
        except BaseException:
            index.close()
            raise
        self._features.share()
        self._cells.share()
        return new

    def warm(self) -> None:
        """Load and make what the first question would wait for: the object models, the places of tiles, what batches are searched with."""
        for kind in self.matchers:
            if self.locators[kind] is not None:
                self._locator(kind)
        if len(self.index):
            self.index.lat_lon([0])
            self.index.search(np.repeat(self.index.descriptors([0]), _WARMING, axis=0), 1)

    @property
    def models(self) -> dict[str, dict[str, str]]:
        """The weights that answers depend on, by kind of photo: name and SHA-256 of their tensors, and the index's view."""
        out = {}
        for kind, matcher in self.matchers.items():
            card, identity = matcher.describer.card, matcher.describer.identity
            own = {"name": str(card.get("name", identity.name)), "sha256": str(card.get("digest", identity.sha256))}
            out[str(kind)] = {**own, "view": identity.view}
        return out

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Return what happened since it was opened, as plain values: `object_features` and `cells` have the hits, misses, hit rate and
        bytes of `CacheStats`, and under `trouble` why the folder for them is not used; `from_index` counts the cells of the 5 m step that
        the index itself had, which are neither. `shards` says who holds an index that many processes do (`RowSearch.metrics`)."""
        kept = {"object_features": self._features.stats(), "cells": self._cells.stats()}
        out: dict[str, dict[str, Any]] = {}
        for name, stats in kept.items():
            out[name] = {**asdict(stats), "hits": stats.hits, "hit_rate": stats.hit_rate}
        out["cells"]["from_index"] = sum(matcher.fine.cells.from_index for matcher in self.matchers.values())
        if shards := self.index.rows.metrics():
            out["shards"] = shards
        return out

    def close(self) -> None:
        """Close the index, and the folder of what is kept."""
        self._features.close()
        self._cells.close()
        self.index.close()

    def __enter__(self) -> GeoSearch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def check(
        self,
        top: int = 5,
        heading_deg: float | None = None,
        fov_deg: float | None = None,
        height_m: float | None = None,
        near: tuple[float, float] | None = None,
        radius_m: float | None = None,
        use_exif_position: bool = False,
        tilt_deg: float | None = None,
        kind: Kind | None = None,
        bounds: Bounds | None = None,
        polygon: Mapping[str, Any] | None = None,
        vintage: str | None = None,
    ) -> None:
        """Raise UsageError for what can be asked of no photo, as `query` takes it: before many are asked about."""
        if top < 1:
            raise UsageError(f"top must be at least 1, not {top}")
        if near is None and radius_m is not None and not use_exif_position:
            raise UsageError("a radius needs a place to be around; give it with near")
        Filters.of(bounds, near, radius_m, polygon, vintage)
        check_known(heading_deg, fov_deg, height_m, tilt_deg, kind)
        if kind is not None and kind not in self.matchers:
            raise UsageError(f"{kind} photos are asked about, and no weights for those were opened; give street_weights")

    @one_question
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
        kind: Kind | None = None,
        anyway: bool = False,
        bounds: Bounds | None = None,
        polygon: Mapping[str, Any] | None = None,
        vintage: str | None = None,
        points: Sequence[tuple[float, float]] = (),
        trace: Trace | None = None,
    ) -> Answer:
        """Find where a photo was taken and, with a `point` (x, y) in its upright full-size pixels, the object there.

        heading_deg: of a drone photo's upper edge or a street photo's middle column against true north; fov_deg: horizontal, 360 for a
        panorama; height_m: above ground; tilt_deg: 0 is straight down; each one given wins over EXIF, whose heading and height are dropped
        where they lead nowhere. kind: "drone" or "street"; a photo that does not tell is tried as both.
        Filters say where the place may lie, and none is answered whose centre lies outside any of them: near (lat, lon) with radius_m (250
        unless given); bounds (west, south, east, north in degrees, west > east across the antimeridian); polygon, a GeoJSON Polygon,
        MultiPolygon or features of such; vintage, of the imagery that shows there: 2023, 2023-06 or 2023-06-30, or from one to another,
        2021/2023-06. use_exif_position takes near from the photo.
        anyway: the object is also looked for where the best place has low confidence. points: several at once, instead of `point`; each has
        its own object or error in `Answer.objects`. trace: gets what was tried; the answer is the same with and without it.
        Raises UsageError for arguments out of range or a point outside the photo, InputError or LimitError for a photo that we cannot read.
        """
        self.check(top, heading_deg, fov_deg, height_m, near, radius_m, use_exif_position, tilt_deg, kind, bounds, polygon, vintage)
        timings: dict[str, float] = {}
        with timed(timings, "decode"):
            picture = photo if isinstance(photo, Photo) else Photo.read(photo)
        if point is not None and points:
            raise UsageError("one point or several are asked about; give point or points, not both")
        click, objects = picture.check_point(point) if point is not None else None, checked(picture, points)
        if near is None and use_exif_position:
            near = picture.position
        camera = camera_of(picture, heading_deg, fov_deg, height_m, tilt_deg, kind)
        kinds = self._kinds(picture, camera)
        selection = self._selector.select(Filters.of(bounds, near, radius_m, polygon, vintage))
        if len(self.index) == 0 or (selection is not None and len(selection.ids(self.index.tile_m)) == 0):
            nowhere = Found(camera, [], "outside_coverage", kinds[0])
            return self._answer(picture, nowhere, top, None, objects, camera_notes(picture, camera, kinds[0], fov_deg, height_m), timings)
        free = without_exif(camera, heading_deg, height_m)
        best: Found | None = None
        for own in kinds:
            # Compasses and barometers err: what the file says is a hint, not an order.
            for guess in (camera, free) if free != camera else (camera,):
                if best is None or best.status != "located":
                    look = self._look(picture, own, guess, selection, top, timings)
                    if trace is not None:
                        trace.looks.append(replace(look, spots=list(look.spots)))
                    best = self._better(best, look)
        assert best is not None
        if best.spots:
            with timed(timings, "fine"):
                best.spots[0] = next(iter(inside(selection, [self._turned_finely(picture, best)])), best.spots[0])
        best, doubts = doubted(self.judge.judged(self.index, picture, best), camera, self.index.rows.missing())
        if trace is not None:
            trace.best = best
        thing, notes = None, camera_notes(picture, best.camera, best.kind, fov_deg, height_m)
        empty = NOTHING_INSIDE if best.poses and not best.spots and not best.missing and selection is not None else None
        uncalibrated = self.judge.note(best.kind)
        notes += [note for note in (None if best.poses else NO_GROUND, *doubts, empty, uncalibrated) if note is not None]
        believed = best.status in ("located", "ambiguous")
        if (click is not None or points) and best.spots and (believed or anyway):
            with timed(timings, "object"):
                there = Standing(self.matchers[best.kind], self._locator(best.kind), best.spots[0], best.camera)
                if trace is not None:
                    trace.there = there
                notes += [] if believed else [NOT_BELIEVED]
                if click is not None:
                    thing, about = at_point(picture, click, there)
                    notes += about
                objects = at_points(picture, objects, there)
        thing = thing if click is not None or not objects else objects[0].found
        return self._answer(picture, best, top, thing, objects, notes, timings)

    def _kinds(self, photo: Photo, camera: Camera) -> list[Kind]:
        """The kinds of photo to try, the likelier first."""
        if camera.kind is None:
            likelier = "street" if len(self.matchers) > 1 and looks_like_street(photo.pixels) else "drone"
            return sorted(self.matchers, key=lambda kind: kind != likelier)
        if camera.kind not in self.matchers:
            raise UsageError(f"{photo.name} is a {camera.kind} photo, and no weights for those were opened; give street_weights")
        return [camera.kind]

    def _look(self, photo: Photo, kind: Kind, camera: Camera, selection: Selection | None, top: int, timings: dict[str, float]) -> Found:
        matcher = self.matchers[kind]
        if kind == "street":
            with timed(timings, "level"):
                camera = camera.levelled(photo)
        # Without a heading every direction is tried, whichever way a grid lies.
        zones = [Zone(0.0, selection)] if camera.heading_deg is None else zones_of(self.index, selection)
        tried = [(zone, self._poses(photo, kind, camera, zone)) for zone in zones]
        found = [matcher.match(photo, poses, zone.selection, top, timings) if poses else [] for zone, poses in tried]
        spots = found[0] if len(found) == 1 else ranked(chain.from_iterable(found), matcher.settings.min_rival_distance_m)
        status = status_of([spot.merit for spot in spots], matcher.thresholds.for_fov(camera.fov_deg))
        return Found(camera, spots, status, kind, tuple(chain.from_iterable(poses for _, poses in tried)))

    def _turned_finely(self, photo: Photo, found: Found) -> Spot:
        """The best place with its heading settled."""
        spot, heading = found.spots[0], found.camera.heading_deg
        if heading is not None:
            heading = None if found.camera.heading_is_magnetic else heading - grid_convergence_deg(spot.segment.crs, spot.x, spot.y)
        return self.matchers[found.kind].turned_finely(photo, spot, heading)

    def _poses(self, photo: Photo, kind: Kind, camera: Camera, zone: Zone) -> list[Pose]:
        """The poses to try; none of a street photo that shows hardly any ground, where every place would look alike."""
        if kind == "street":
            poses = street_poses_to_try(camera, self.settings.street_poses, zone.convergence_deg)
            return [pose for pose in poses if pose.ground_share(photo) >= LEAST_GROUND]
        return [*poses_to_try(camera, self.settings.poses, zone.convergence_deg)]

    def _better(self, best: Found | None, found: Found) -> Found:
        """The better of two ways to look at a photo; the less likely kind must convince, since scores of two kinds hardly compare."""
        if best is None:
            return found
        if found.kind != best.kind:
            return found if found.status == "located" else best
        return found if self._lead(found) > self._lead(best) else best

    def _lead(self, found: Found) -> float:
        """How far the best place lies above what its kind of photo needs."""
        if not found.spots:
            return -math.inf
        return found.spots[0].merit - self.matchers[found.kind].thresholds.score

    def _locator(self, kind: Kind) -> Locator:
        with self._loading:
            known = self.locators[kind]
            if known is None:
                raise UsageError(f"no object weights for {kind} photos were opened; give them to ask for a point")
            if isinstance(known, str):
                finder = ObjectFinder.load(self.index, known, self._features, self._runtime)
                if isinstance(finder.view, StreetObjectView) != (kind == "street"):
                    raise MismatchError(f"the object weights {known} are not for {kind} photos; choose others")
                known = self.locators[kind] = finder
            return known

    def _answer(
        self, photo: Photo, found: Found, top: int, thing: FoundObject | None, objects: Sequence[Clicked],
        notes: list[str], timings: dict[str, float],
    ) -> Answer:  # fmt: skip
        timings["total"] = sum(timings.values())
        places = as_judged((place_of(self.index, spot, found.camera) for spot in found.spots[:top]), found.confidence)
        describer = self.matchers[found.kind].describer
        model = str(describer.card.get("name", describer.identity.name))
        generation, said = self.index.manifest.generation, tuple(notes)
        return Answer(
            photo.name, found.status, places, thing, generation, model, timings, said, tuple(objects), found.evidence, found.missing
        )
