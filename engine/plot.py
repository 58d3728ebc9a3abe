"""The picture of one answer: the photo with its click, the aerial window with place and object, the rivals, and whose imagery it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from crossgeo.engine.aerial_map import BLUE, INK, ROSE, WHITE, AerialMap
from crossgeo.engine.pen import Pen, Point
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer, Place
from crossgeo.engine.pose import StreetPose, part_at
from crossgeo.engine.words import STATUS_NAMES
from crossgeo.errors import LimitError
from crossgeo.geodesy import distance_m, from_lat_lon
from crossgeo.indexer.index import GeoIndex, Segment

WIDTH, HEIGHT, MARGIN = 1600, 1120, 36
_PHOTO = (MARGIN, 128, 889, 768)  # x0, y0, x1, y1
_AERIAL = (924, 128, WIDTH - MARGIN, 768)
_STRIP_TOP, _SIDE, _THUMBS, _GAP = 848, 182, 5, 16.0
_OVERVIEW_M = 2500.0  # places farther from the best than this are not on the overview
_PAPER, _GREY, _NIGHT = "#F7F6F2", "#66717D", "#10161D"
_STATUS = {"located": "#15803D", "ambiguous": "#B45309", "low_confidence": "#B91C1C", "outside_coverage": "#57606A"}


def save_plot(path: str | Path, photo: Photo, answer: Answer, index: GeoIndex, point: tuple[float, float] | None = None) -> None:
    """Draw an answer and write it as PNG or JPEG, by the path's suffix; raise LimitError when it cannot be written."""
    out = Path(path)
    picture = draw_answer(photo, answer, index, point)
    partial = out.with_name(f".{out.name}.writing")
    try:
        picture.save(partial, format="JPEG" if out.suffix.lower() in (".jpg", ".jpeg") else "PNG", quality=92)
        partial.replace(out)
    except OSError as error:
        raise LimitError(f"{out}: cannot be written ({error.strerror or error}); free some space or choose another place") from error
    finally:
        partial.unlink(missing_ok=True)


def draw_answer(photo: Photo, answer: Answer, index: GeoIndex, point: tuple[float, float] | None = None) -> Image.Image:
    """Return the picture of an answer, 1600 px wide; `point` is the click in the photo's upright full-size pixels."""
    pen = Pen(WIDTH, HEIGHT, _PAPER)
    _header(pen, answer)
    click = photo.check_point(point) if point is not None else None
    _photo(pen, photo, answer, click)
    if answer.places:
        _aerial(pen, photo, answer, index, click)
        _rivals(pen, answer, index)
    else:
        pen.panel(_AERIAL, "#E2E4E6", radius=0.0)
        middle = ((_AERIAL[0] + _AERIAL[2]) / 2, (_AERIAL[1] + _AERIAL[3]) / 2)
        pen.text(middle, "no imagery in this index where the photo may be", 18, _GREY, "mm")
    _footer(pen, answer, index)
    return pen.finish()


def _header(pen: Pen, answer: Answer) -> None:
    colour, words = _STATUS[answer.status], STATUS_NAMES[answer.status]
    pen.text((MARGIN, 62), pen.fitted(answer.photo, 30, 860), 30, INK, bold=True)
    left = MARGIN
    width = pen.text_width(words, 15) + 26
    pen.panel((left, 78, left + width, 106), colour, radius=14)
    pen.text((left + width / 2, 92), words, 15, WHITE, "mm")
    if not answer.places:
        return
    best = answer.places[0]
    facts = f"score {best.score:.3f}"
    if len(answer.places) > 1:
        facts += f",  {best.score - answer.places[1].score:+.3f} over the next place"
    pen.text((left + width + 16, 92), facts, 15, _GREY, "lm")
    pen.text((_AERIAL[0], 62), f"{best.lat:.6f}, {best.lon:.6f}", 30, INK, bold=True)
    seen = f"within {best.radius_m:.1f} m,  heading {best.heading_deg:.0f}°,  {best.pose.words}"
    pen.text((_AERIAL[0], 92), seen, 15, _GREY, "lm")


def _photo(pen: Pen, photo: Photo, answer: Answer, click: Point | None) -> None:
    x0, y0, x1, y1 = _PHOTO
    inner = Pen(x1 - x0, y1 - y0, _NIGHT)
    height, width = photo.pixels.shape[:2]
    scale = min(inner.width / width, inner.height / height)
    left, top = (inner.width - width * scale) / 2, (inner.height - height * scale) / 2
    inner.paste(Image.fromarray(photo.pixels), (left, top, left + width * scale, top + height * scale))
    if click is not None:
        target(inner, (left + click[0] * scale, top + click[1] * scale))
    pen.inset(inner, (x0, y0))
    caption = f"photo, {photo.width_px} x {photo.height_px} px"
    if click is not None:
        caption += f";  clicked at {click[0] / photo.scale:.0f}, {click[1] / photo.scale:.0f}"
    pen.text((x0, y1 + 24), caption, 15, _GREY)


def target(pen: Pen, centre: Point, size: float = 1.0) -> None:
    """Draw a ring with four ticks, open in the middle so that what was clicked stays in sight."""
    x, y = centre
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        pen.line([(x + 9 * size * dx, y + 9 * size * dy), (x + 24 * size * dx, y + 24 * size * dy)], ROSE, 2.6 * size, casing=WHITE)
    pen.disc(centre, 16.6 * size, None, rim=WHITE, rim_width=5.2 * size)
    pen.disc(centre, 15.4 * size, None, rim=ROSE, rim_width=2.8 * size)
    pen.disc(centre, 2.6 * size, ROSE, rim=WHITE, rim_width=0.8 * size)


def _aerial(pen: Pen, photo: Photo, answer: Answer, index: GeoIndex, click: Point | None) -> None:
    x0, y0, x1, y1 = _AERIAL
    pen.inset(aerial_view(photo, answer, index, click, x1 - x0, y1 - y0).pen, (x0, y0))
    caption = "aerial image:  place and heading,  photo's outline"
    if answer.found is not None:
        caption += f";  object at {answer.found.lat:.6f}, {answer.found.lon:.6f}"
    pen.text((x0, y1 + 24), caption, 15, _GREY)


def aerial_view(photo: Photo, answer: Answer, index: GeoIndex, click: Point | None, width: int, height: int) -> AerialMap:
    """Draw the imagery around an answer's best place, with its radius, heading, outline, and the object; `click` is in decoded pixels."""
    best, segment = answer.places[0], index.segment_of(answer.places[0].tile)
    x, y = from_lat_lon(segment.crs, best.lat, best.lon)
    corners = [] if answer.found is None else [(lat, lon) for lon, lat in answer.found.polygon["coordinates"][0][:-1]]
    shown = [from_lat_lon(segment.crs, *corner) for corner in corners]
    view = AerialMap(index, segment, *framed((x, y), min(max(1.3 * best.pose.seen_m, 60.0), 220.0), shown), width, height)
    outline = view.footprint(best, photo)
    if outline:
        view.pen.dashes([*outline, outline[0]], WHITE, 1.8, casing=(12, 18, 26, 130))
    view.place(best)
    if click is not None:
        _clicked_ground(view, best, segment, photo, click)
    if answer.found is not None:
        thing = answer.found
        if isinstance(best.pose, StreetPose):
            view.pen.line([view.at(x, y), view.at(*from_lat_lon(segment.crs, thing.lat, thing.lon))], ROSE, 2.2, casing=WHITE)
        view.box(corners, f"{thing.width_m:.1f} x {thing.height_m:.1f} m,  confidence {thing.confidence:.2f}")
    view.scale_bar()
    view.north()
    return view


def framed(place: Point, size_m: float, corners: Sequence[Point]) -> tuple[float, float, float]:
    """The middle x, y and side of the square that shows a place with `size_m` around it, moved and widened to show an object, too."""
    (x, y), half = place, size_m / 2.0
    if all(max(abs(east - x), abs(north - y)) < 0.9 * half for east, north in corners):
        return x, y, size_m
    near = 0.25 * size_m  # what stays around the place itself
    xs, ys = [x - near, x + near, *(east for east, _ in corners)], [y - near, y + near, *(north for _, north in corners)]
    side = 1.1 * max(max(xs) - min(xs), max(ys) - min(ys))
    return (max(xs) + min(xs)) / 2.0, (max(ys) + min(ys)) / 2.0, max(size_m, side)


def _clicked_ground(view: AerialMap, best: Place, segment: Segment, photo: Photo, click: Point) -> None:
    try:
        east, north = best.pose.offset_m(photo, part_at(photo, click))
    except ValueError:  # sky
        return
    x, y = from_lat_lon(segment.crs, best.lat, best.lon)
    at = view.at(x + east, y + north)
    if view.holds(at):
        view.pen.disc(at, 6.0, ROSE, rim=WHITE, rim_width=1.8)


def _rivals(pen: Pen, answer: Answer, index: GeoIndex) -> None:
    """The overview with numbered places, their list, and a picture of each of the best five."""
    pen.text((MARGIN, _STRIP_TOP - 12), "best place and rivals", 15, INK, bold=True)
    view = overview(answer, index, 330, _SIDE)
    width = view.width
    pen.inset(view.pen, (MARGIN, _STRIP_TOP))
    start = WIDTH - MARGIN - _THUMBS * _SIDE - (_THUMBS - 1) * _GAP
    for number, place in enumerate(answer.places[:_THUMBS], start=1):
        _thumb(pen, index, place, number, answer.places[0], (start + (number - 1) * (_SIDE + _GAP), float(_STRIP_TOP)))
        left, line = MARGIN + width + 20.0, _STRIP_TOP + 15.0 + (number - 1) * 37.5
        pen.text((left, line), str(number), 15, BLUE if number == 1 else INK, "lm", bold=True)
        pen.text((left + 18.0, line), f"{place.lat:.5f}, {place.lon:.5f}", 14, INK, "lm")
        pen.text((left + 18.0, line + 16.0), f"within {place.radius_m:.1f} m,  heading {place.heading_deg:.0f}°", 12, _GREY, "lm")


def overview(answer: Answer, index: GeoIndex, max_width: int, height: int, radii: bool = False) -> AerialMap:
    """Draw the places that lie near the best on one map, with their `radii` if asked; its width follows the shape of what there is."""
    best, segment = answer.places[0], index.segment_of(answer.places[0].tile)
    here = [place for place in answer.places if index.segment_of(place.tile) == segment and away_m(best, place) < _OVERVIEW_M]
    spots = np.array([from_lat_lon(segment.crs, place.lat, place.lon) for place in here])
    west, south, east, north = segment.bounds
    low, high = spots.min(axis=0) - 90.0, spots.max(axis=0) + 90.0
    height_m = max(high[1] - low[1], (high[0] - low[0]) * height / max_width, 240.0)
    width_m = min(max(high[0] - low[0], 1.6 * height_m, 240.0), max(east - west, high[0] - low[0]), height_m * max_width / height)
    width = int(max(round(height * width_m / height_m), height))
    # Stay on the imagery where it is larger than the map.
    x = float(np.clip((low[0] + high[0]) / 2.0, *_room(west, east, width_m)))
    y = float(np.clip((low[1] + high[1]) / 2.0, *_room(south, north, height_m)))
    view = AerialMap(index, segment, x, y, height_m * width / height, width, height)
    for number, place in reversed(list(enumerate(answer.places, start=1))):
        if place in here:
            if radii:
                view.radius(place)
            view.marker(view.at_lat_lon(place.lat, place.lon), number, number == 1)
    view.scale_bar()
    return view


def _room(low: float, high: float, size: float) -> tuple[float, float]:
    """Where the centre of a window of `size` may lie between two edges; their middle when it is wider than they are."""
    middle = (low + high) / 2.0
    return min(low + size / 2.0, middle), max(high - size / 2.0, middle)


def _thumb(pen: Pen, index: GeoIndex, place: Place, number: int, best: Place, corner: Point) -> None:
    segment = index.segment_of(place.tile)
    x, y = from_lat_lon(segment.crs, place.lat, place.lon)
    view = AerialMap(index, segment, x, y, index.tile_m, _SIDE, _SIDE)
    view.marker((20.0, 20.0), number, number == 1, radius=12.0)
    pen.inset(view.pen, corner)
    if number == 1:
        pen.panel((corner[0] - 2, corner[1] - 2, corner[0] + _SIDE + 2, corner[1] + _SIDE + 2), None, radius=2.0, rim=BLUE)
    score = f"{place.score:.3f}"
    pen.text((corner[0], corner[1] + _SIDE + 25), score, 17, INK, bold=True)
    away = away_m(best, place)
    words = "best" if number == 1 else f"{away:.0f} m away" if away < 1000.0 else f"{away / 1000.0:,.0f} km away"
    pen.text((corner[0] + _SIDE, corner[1] + _SIDE + 25), words, 14, _GREY, "rs")


def away_m(best: Place, place: Place) -> float:
    """Return how far two places lie apart, in metres."""
    return distance_m(best.lat, best.lon, place.lat, place.lon)


def _footer(pen: Pen, answer: Answer, index: GeoIndex) -> None:
    names = list(dict.fromkeys(source.name for source in index.manifest.sources))
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    took = f"{answer.timings_ms['total'] / 1000.0:.1f} s" if "total" in answer.timings_ms else ""
    right = f"index generation {answer.generation},  {answer.model}" + (f",  {took}" if took else "")
    pen.line([(MARGIN, HEIGHT - 44), (WIDTH - MARGIN, HEIGHT - 44)], "#DAD8D0", 1.0)
    room = WIDTH - 2 * MARGIN - pen.text_width(right, 13) - 30
    pen.text((MARGIN, HEIGHT - 20), pen.fitted(f"imagery: {shown or 'unnamed'}", 13, room), 13, _GREY)
    pen.text((WIDTH - MARGIN, HEIGHT - 20), right, 13, _GREY, "rs")
