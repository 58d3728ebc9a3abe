"""The objects at points of a photo, once its place is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from crossgeo.engine.camera import Camera
from crossgeo.engine.fine import Spot
from crossgeo.engine.locate import Locator
from crossgeo.engine.matcher import Matcher
from crossgeo.engine.notes import NOTHING_THERE, out_of_reach
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Clicked, FoundObject
from crossgeo.engine.sights import bearing_deg
from crossgeo.errors import UsageError

Seen = tuple[FoundObject | None, list[str]]  # what stands at a point, and the notes about it


@dataclass(frozen=True)
class Standing:
    """How a photo stands at the place where it was found, and what finds objects there."""

    matcher: Matcher
    locator: Locator
    spot: Spot
    camera: Camera


def at_point(photo: Photo, click_px: tuple[float, float], there: Standing) -> Seen:
    """Return the object under a click (decoded pixels) of a photo; raise UsageError when the click shows sky."""
    return _look(photo, [click_px], there)[0]


def checked(photo: Photo, points: Sequence[tuple[float, float]]) -> list[Clicked]:
    """Return the points (full-size pixels) with an error at each that lies outside of the photo, nothing looked for yet."""
    return [_checked(photo, point) for point in points]


def at_points(photo: Photo, points: Sequence[Clicked], there: Standing) -> list[Clicked]:
    """Return checked points with the object at each that has no error, asked in one pass; one that shows sky gets its error."""
    out = list(points)
    asked = [n for n, clicked in enumerate(out) if clicked.error is None]
    clicks = [photo.check_point(out[n].point) for n in asked]
    try:
        seen: list[Seen | UsageError] = [*_look(photo, clicks, there)]
    except UsageError:  # of one of them; what was made of the imagery for the others is kept
        seen = [_alone(photo, click, there) for click in clicks]
    for n, one in zip(asked, seen, strict=True):
        out[n] = replace(out[n], error=one) if isinstance(one, UsageError) else replace(out[n], found=one[0], notes=tuple(one[1]))
    return out


def _checked(photo: Photo, point: tuple[float, float]) -> Clicked:
    try:
        photo.check_point(point)
    except UsageError as error:
        return Clicked(point, error=error)
    return Clicked(point)


def _alone(photo: Photo, click_px: tuple[float, float], there: Standing) -> Seen | UsageError:
    try:
        return at_point(photo, click_px, there)
    except UsageError as error:
        return error


def _look(photo: Photo, clicks_px: Sequence[tuple[float, float]], there: Standing) -> list[Seen]:
    spots = [there.matcher.at_click(photo, click, there.spot) for click in clicks_px]
    far = [out_of_reach(photo, click, at.pose, there.locator.reach_m) for click, at in zip(clicks_px, spots, strict=True)]
    near = [n for n, note in enumerate(far) if note is None]
    found = there.locator.find_many(photo, [clicks_px[n] for n in near], [spots[n] for n in near])
    out: list[Seen] = [(None, [] if note is None else [note]) for note in far]
    for n, thing in zip(near, found, strict=True):
        if thing is not None and thing.confidence < there.locator.least_confidence:
            out[n] = None, [NOTHING_THERE]
        elif thing is not None:
            out[n] = replace(thing, bearing_deg=bearing_deg(photo, clicks_px[n], spots[n], there.camera)), []
    return out
