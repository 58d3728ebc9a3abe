"""One photo's row in a report: its thumbnail with its clicks, its place on the imagery with the boxes, status, notes or error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from crossgeo.engine.aerial_map import BLUE, WHITE, YELLOW, AerialMap
from crossgeo.engine.explain.html import Content, Markup, name_of, tag
from crossgeo.engine.explain.pictures import fitted, pen_over, shown
from crossgeo.engine.output import Record
from crossgeo.engine.photo import Photo
from crossgeo.engine.plot import framed, target
from crossgeo.engine.words import STATUS_NAMES
from crossgeo.errors import GeoError
from crossgeo.geodesy import from_lat_lon
from crossgeo.indexer.index import GeoIndex

HEADS = (
    ("photo", "photo"), ("status", "status"), ("place", "radius"), ("score", "score"), ("aerial image", None), ("object", "confidence"),
    ("notes", None),
)  # fmt: skip
_PHOTO_PX, _GROUND_PX = 200, 160
_PHOTO_BYTES, _GROUND_BYTES = 9_000, 7_000  # together about 15 KB a row

Point = tuple[float, float]


def row(number: int, record: Record, read: Callable[[], Photo] | None, points: Sequence[Point], index: GeoIndex) -> Markup:
    """Return the row of a record; `read` reads its photo, and is not called for one that failed."""
    error = record.get("error")
    status = str(record.get("status", "error"))
    places = record.get("places") or []
    best = places[0] if places else None
    things = _things(record)
    cells = [
        _cell("photo", _photo(record, None if error else read, points), "shown"),
        _cell("status", [tag("span", STATUS_NAMES.get(status, status), class_=f"status s-{status}"), _drive(record.get("sequence"))]),
        _cell("place", _place(best)),
        _cell("score", _score(places), "number"),
        _cell("aerial image", None if best is None else _ground(best, things, index, str(record["photo"])), "shown"),
        _cell("object", [_object(thing) for thing in things]),
        _cell("notes", _notes(record)),
    ]
    sorted_by = {
        "data_photo": f"{number}", "data_status": status, "data_radius": f"{best['radius_m']:g}" if best else "",
        "data_score": f"{best['score']:g}" if best else "", "data_confidence": f"{things[0]['confidence']:g}" if things else "",
    }  # fmt: skip
    return tag("tr", cells, role="row", **sorted_by)


def _cell(label: str, content: Content, class_: str | None = None) -> Markup:
    empty = content is None or content == []
    return tag("td", content, role="cell", class_=class_, data_label=None if empty else label)


def _drive(sequence: Record | None) -> Content:
    """What the photos before and after it make of an answer, where it was smoothed."""
    if not sequence:
        return None
    if sequence.get("rank") is None:
        words = "off the way of its drive"
    elif sequence["rank"] > 1:
        words = f"on the way of its drive; place {sequence['rank']} by itself"
    else:
        words = "on the way of its drive"
    return tag("div", words + ("; changed by it" if sequence.get("changed") else ""), class_="soft")


def _things(record: Record) -> list[dict[str, Any]]:
    """The objects of a record, of one point or of several."""
    several = record.get("objects")
    found = [one.get("object") for one in several] if several else [record.get("object")]
    return [thing for thing in found if thing]


def _photo(record: Record, read: Callable[[], Photo] | None, points: Sequence[Point]) -> Content:
    about = [f"{name} {record[name]}" for name in ("id", "group", "taken") if record.get(name)]
    words = [tag("div", name_of(str(record["photo"]))), [tag("div", name_of(line), class_="soft") for line in about]]
    if read is None:
        return words
    try:
        photo = read()
    except GeoError as error:
        return [words, tag("div", f"no picture: {error}", class_="soft")]
    small = fitted(photo.pixels, _PHOTO_PX)
    alt = "the photo" + (", its click ringed" if points else "")
    if not points:
        return [shown(small, alt, 72, _PHOTO_BYTES), words]
    pen, share = pen_over(small), small.shape[1] / photo.width_px
    for x, y in points:
        target(pen, (x * share, y * share), 0.6)
    return [shown(pen.finish(), alt, 72, _PHOTO_BYTES), words]


def _place(best: Record | None) -> Content:
    if best is None:
        return None
    chances = best.get("probability") or {}
    told = [f"{100 * float(share):.0f} % within {metres} m" for metres, share in chances.items()]
    lines = [f"within {best['radius_m']:g} m, heading {best['heading_deg']:.0f}°", *told]
    if best.get("source"):
        lines.append(" ".join(str(word) for word in (best["source"], best.get("vintage")) if word))
    where = tag("div", f"{best['lat']:.6f}, {best['lon']:.6f}", class_="where")
    return [where, [tag("div", name_of(line), class_="soft") for line in lines]]


def _score(places: Sequence[Record]) -> Content:
    if not places:
        return None
    lead = f"{places[0]['score'] - places[1]['score']:+.3f}" if len(places) > 1 else ""
    return [tag("div", f"{places[0]['score']:.3f}"), tag("div", lead, class_="soft") if lead else None]


def _ground(best: Record, things: Sequence[Record], index: GeoIndex, name: str) -> Markup:
    """The imagery around a place, which is marked, with the boxes of its objects."""
    segment = index.segment_of(best["tile"])
    x, y = from_lat_lon(segment.crs, best["lat"], best["lon"])
    boxes = [[from_lat_lon(segment.crs, lat, lon) for lon, lat in thing["polygon"]["coordinates"][0][:-1]] for thing in things]
    corners = [corner for box in boxes for corner in box]
    view = AerialMap(index, segment, *framed((x, y), index.tile_m, corners), _GROUND_PX, _GROUND_PX)
    for box in boxes:
        view.pen.line([view.at(*corner) for corner in box], YELLOW, 2.0, casing=(12, 18, 26, 200), closed=True)
    view.pen.disc(view.at(x, y), 4.5, BLUE, rim=WHITE, rim_width=1.6)
    alt = "its place on the aerial image, north up" + (", with the box of the object" if boxes else "")
    return shown(view.pen.finish(), alt, 72, _GROUND_BYTES)


def _object(thing: Record) -> Markup:
    where = tag("div", f"{thing['lat']:.6f}, {thing['lon']:.6f}", class_="where")
    size = f"{thing['width_m']:.1f} x {thing['height_m']:.1f} m, confidence {thing['confidence']:.2f}"
    return tag("div", where, tag("div", size, class_="soft"))


def _notes(record: Record) -> Content:
    error = record.get("error")
    if error:
        return tag("span", name_of(f"{error['type']}: {error['message']}"), class_="s-error")
    notes = [str(note) for note in record.get("notes") or []]
    for one in record.get("objects") or []:
        at = "{:g}, {:g}".format(*one["point"])
        notes += [f"{at}: {note}" for note in one.get("notes") or []]
        if one.get("error"):
            notes.append(f"{at}: {one['error']['message']}")
    return tag("ul", [tag("li", name_of(note)) for note in notes]) if notes else None
