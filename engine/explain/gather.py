"""What an explanation is made of: the answer again, with what was tried, what was compared, and what the object network attended to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossgeo.engine.agreement import Agreement, PartFit
from crossgeo.engine.clicks import Standing
from crossgeo.engine.explain.attention import ClickMaps, click_maps
from crossgeo.engine.fine import Spot
from crossgeo.engine.locate import ObjectFinder, Shown
from crossgeo.engine.matcher import Matcher
from crossgeo.engine.notes import out_of_reach
from crossgeo.engine.photo import Photo
from crossgeo.engine.photo_maps import DenseDescriber
from crossgeo.engine.place import Answer, FoundObject, Place
from crossgeo.engine.placing import DronePlacer, Placer, StreetPlacer
from crossgeo.engine.plot import aerial_view, away_m, overview
from crossgeo.engine.pose import Pose, StreetPose
from crossgeo.engine.question import BatchOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.status import Thresholds
from crossgeo.engine.trace import Found, Trace
from crossgeo.geodesy import grid_convergence_deg
from crossgeo.indexer.index import GeoIndex
from crossgeo.models.checkpoint import load_object_network
from crossgeo.models.views import Image as Pixels

MOST_POSES = 600  # that are compared with the best place once more


@dataclass(frozen=True)
class Compared:
    """One place: the photo as it lies there and the ground that it was compared with, both north up and equally wide."""

    place: Place
    cosine: float  # of the descriptors
    fit: float | None  # correlation of the feature maps: of the whole photo, its parts, or both
    canvas: Pixels
    mask: NDArray[np.bool_]  # where the canvas shows the photo
    ground: Pixels
    valid: NDArray[np.bool_]  # where there is imagery
    away_m: float  # from the best place
    lead: float  # of the best place's score over this one's


@dataclass(frozen=True)
class Tried:
    """One pose that was tried, and how its descriptor fits the ground of the best place."""

    heading_deg: float  # against true north
    scale_m: float  # ground across a drone photo, height of a street camera
    cosine: float


@dataclass(frozen=True)
class ClickView:
    """What the object network was shown of the click, the box it answered with and what it attended to."""

    shown: Shown
    thing: FoundObject
    sure: bool  # whether the box was sure enough for the answer
    least_confidence: float
    maps: ClickMaps | None  # None where the finder in use has no network to look into
    network: tuple[str, str]  # name and SHA-256 of its weights


@dataclass(frozen=True)
class Explanation:
    """Everything that the page of one question shows."""

    photo: Photo
    point: tuple[float, float] | None  # in the photo's upright full-size pixels
    answer: Answer
    anyway: bool
    looks: tuple[Found, ...]  # every way in which the photo was looked at, in order
    best: Found | None
    thresholds: Thresholds | None  # those that the status follows from
    compared: tuple[Compared, ...]
    parts: tuple[PartFit, ...]  # of the best place; empty where parts are not compared
    rival_parts: tuple[PartFit, ...]  # of the next place
    tried: tuple[Tried, ...]
    click: ClickView | None
    place_map: Image.Image | None
    rival_map: Image.Image | None
    models: tuple[tuple[str, str, str], ...]  # what for, name, SHA-256
    index: tuple[tuple[str, str], ...]
    took_ms: float  # that the explanation took beyond the answer


def explain(
    search: GeoSearch,
    photo: Photo | str | Path | bytes,
    point: tuple[float, float] | None = None,
    options: BatchOptions | None = None,
) -> Explanation:
    """Ask about a photo as `search.query` does and keep what led to the answer, which is the same; then look at it once more.

    Comparisons, parts and attention are computed after the answer, from the places and poses that it has: some seconds of a core. Attention
    maps come from the network's definition in torch, whatever the answer ran on. Raises as `search.query`.
    """
    options = options or BatchOptions()
    picture = photo if isinstance(photo, Photo) else Photo.read(photo)
    trace = Trace()
    answer = search.query(picture, point=point, **asdict(options), trace=trace)
    return explained(search, picture, point, options, answer, trace)


def explained(
    search: GeoSearch, photo: Photo, point: tuple[float, float] | None, options: BatchOptions, answer: Answer, trace: Trace
) -> Explanation:
    """Return the explanation of an answer with its trace, both of `search.query` given the same."""
    start = time.perf_counter()
    found = trace.best
    matcher = search.matchers[found.kind if found else "drone"]
    thresholds = None if found is None else matcher.thresholds.for_fov(found.camera.fov_deg)
    spots = [] if found is None else found.spots[: len(answer.places)]
    compared = [_compared(matcher, photo, answer, place, spot) for place, spot in zip(answer.places, spots, strict=True)]
    parts = [_parts(matcher, photo, spot) for spot in spots[:2]]
    click = None if trace.there is None or point is None else _click(photo, photo.check_point(point), trace.there)
    decoded = None if point is None else photo.check_point(point)
    place_map = aerial_view(photo, answer, search.index, decoded, 640, 520) if spots else None
    rival_map = overview(answer, search.index, 640, 420, radii=True) if spots else None
    return Explanation(
        photo=photo,
        point=point,
        answer=answer,
        anyway=options.anyway,
        looks=tuple(trace.looks),
        best=found,
        thresholds=thresholds,
        compared=tuple(compared),
        parts=tuple(parts[0]) if parts else (),
        rival_parts=tuple(parts[1]) if len(parts) > 1 else (),
        tried=_tried(matcher, photo, found.poses, spots[0]) if found and spots else (),
        click=click,
        place_map=None if place_map is None else place_map.pen.finish(),
        rival_map=None if rival_map is None else rival_map.pen.finish(),
        models=_models(search, click),
        index=_about(search.index),
        took_ms=(time.perf_counter() - start) * 1000.0,
    )


def _ground(index: GeoIndex, photo: Photo, spot: Spot, pose: Pose) -> tuple[Pixels, NDArray[np.bool_]]:
    """The tile around which the photo's canvas lies when it is at a spot in a pose."""
    east_m, north_m = pose.offset_m(photo)
    return index.read_window(spot.segment, spot.x + east_m, spot.y + north_m, index.tile_m, index.tile_px)


def _compared(matcher: Matcher, photo: Photo, answer: Answer, place: Place, spot: Spot) -> Compared:
    best, index = answer.places[0], matcher.index
    describer, at = matcher.describer, spot.pose.offset_m(photo)
    side_px = describer.canvas_px if isinstance(describer, DenseDescriber) else index.tile_px
    placer: Placer[Any] = StreetPlacer() if isinstance(spot.pose, StreetPose) else DronePlacer()
    canvas, mask = placer.place(photo, [spot.pose], [at], side_px, index.tile_m)
    ground, valid = _ground(index, photo, spot, spot.pose)
    away, lead = away_m(best, place), best.score - place.score
    return Compared(place, spot.score, spot.fit, canvas[0], mask[0], ground, valid, away, lead)


def _parts(matcher: Matcher, photo: Photo, spot: Spot) -> list[PartFit]:
    """How each part of the photo fits at a spot, where the search compares parts."""
    describer, settings = matcher.describer, matcher.settings
    if not isinstance(describer, DenseDescriber) or (settings.parts is None and settings.maps is None):
        return []
    return Agreement(matcher.index, describer, settings.agreement).by_part(photo, spot)


def _tried(matcher: Matcher, photo: Photo, poses: Sequence[Pose], spot: Spot) -> tuple[Tried, ...]:
    """The poses with the cosine of each to the ground of the best place."""
    poses = list(dict.fromkeys(poses))[:MOST_POSES]
    if not poses:
        return ()
    convergence = grid_convergence_deg(spot.segment.crs, spot.x, spot.y)
    rows = matcher.describer.photo(photo, poses)
    offsets = [pose.offset_m(photo) for pose in poses]
    apart = list(dict.fromkeys(offsets))
    like = {pose.offset_m(photo): pose for pose in poses}
    tiles = matcher.describer.tiles(np.stack([_ground(matcher.index, photo, spot, like[offset])[0] for offset in apart]))
    cosines = (rows * tiles[[apart.index(offset) for offset in offsets]]).sum(axis=1)
    return tuple(
        Tried((pose.heading_deg + convergence) % 360.0, pose.scale_m, float(cosine)) for pose, cosine in zip(poses, cosines, strict=True)
    )


def _click(photo: Photo, click_px: tuple[float, float], there: Standing) -> ClickView | None:
    """What the network made of the click; None where nothing was looked for, for want of imagery or out of reach."""
    locator = there.locator
    at = there.matcher.at_click(photo, click_px, there.spot)
    if not isinstance(locator, ObjectFinder) or out_of_reach(photo, click_px, at.pose, locator.reach_m) is not None:
        return None
    shown, thing = locator.shown(photo, click_px, at), locator.find(photo, click_px, at)
    if shown is None or thing is None:
        return None
    sure = thing.confidence >= locator.least_confidence
    if locator.weights is None:
        return ClickView(shown, thing, sure, locator.least_confidence, None, ("the object finder in use", ""))
    loaded = load_object_network(locator.weights)
    maps = click_maps(loaded.module, shown, thing.box_px)
    return ClickView(shown, thing, sure, locator.least_confidence, maps, loaded.identity)


def _models(search: GeoSearch, click: ClickView | None) -> tuple[tuple[str, str, str], ...]:
    rows = [(f"places of {kind} photos", told["name"], told["sha256"]) for kind, told in search.models.items()]
    return (*rows, *([("objects", *click.network)] if click else []))


def _about(index: GeoIndex) -> tuple[tuple[str, str], ...]:
    names = list(dict.fromkeys(source.name for source in index.manifest.sources))
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (
        ("generation", str(index.manifest.generation)),
        ("content", index.manifest.hash),
        ("tiles", f"{len(index):,}, {index.tile_m:g} m wide, {index.stride_m:g} m apart, {index.gsd_m:g} m a pixel"),
        ("imagery", ", ".join(names[:8]) + more),
    )
