"""The page of one question: the photo and its place, what was compared and tried, and what decided; one file, complete without a script."""

from __future__ import annotations

import math
from pathlib import Path

from crossgeo import disk
from crossgeo.engine.explain.charts import bars, poses
from crossgeo.engine.explain.click_section import click_section
from crossgeo.engine.explain.document import document
from crossgeo.engine.explain.gather import Compared, Explanation
from crossgeo.engine.explain.html import Content, Markup, facts, figure, many, name_of, scrolled, section, tag
from crossgeo.engine.explain.pictures import enlarged, fitted, pen_over, shown, unseen_as
from crossgeo.engine.explain.why import PARTIAL, STAGES, why, why_calibrated
from crossgeo.engine.photo import Photo
from crossgeo.engine.plot import target
from crossgeo.engine.pose import StreetPose
from crossgeo.engine.words import STATUS_NAMES, STATUS_WORDS
from crossgeo.errors import LimitError, StoreError

PHOTO_PX = 960  # of the longer side, where the photo is larger
_SIDE_PX = 280  # of canvases and tiles
_NIGHT = (16, 22, 29)


def page(told: Explanation, command: str | None = None) -> str:
    """Return the whole page as HTML; `command` is the line that asks the same again, where there is one."""
    title = f"{told.answer.photo}: {STATUS_NAMES[told.answer.status]}"
    parts = [_photo(told), _rivals(told), _agreement(told), _tried(told), click_section(told), _timings(told), _made_with(told, command)]
    return document(title, tag("header", _header(told), class_="top"), tag("main", [part for part in parts if part is not None]))


def save_page(path: Path, told: Explanation, command: str | None = None) -> None:
    """Write the page; the file appears only when it is complete. Raises LimitError when it cannot be written."""
    try:
        with disk.replacing(path) as temporary:
            temporary.write_text(page(told, command), encoding="utf-8")
    except StoreError as error:  # of an index it would be damage; here it is a disk that does not take a file
        raise LimitError(f"{path}: cannot be written; look at the disk, or choose another place") from error


def _header(told: Explanation) -> Content:
    answer = told.answer
    badge = tag("span", STATUS_NAMES[answer.status], class_=f"status s-{answer.status}")
    scores = [] if told.best is None else [spot.merit for spot in told.best.spots]
    confidence = None if told.best is None else told.best.confidence
    reason = why(answer.status, scores, told.thresholds) if confidence is None else why_calibrated(answer.status, confidence)
    reason = PARTIAL if answer.partial else reason
    out: list[Content] = [
        tag("h1", name_of(answer.photo)),
        tag("p", badge, class_="lead"),
        tag("p", f"{_sentence(STATUS_WORDS[answer.status])} {reason}"),
    ]
    if answer.places:
        best = answer.places[0]
        often = "two of three" if confidence is None or confidence.radius_m is None else "nine of ten"
        rows: list[tuple[str, Content]] = [
            ("place", f"{best.lat:.7f}, {best.lon:.7f}"), ("within", f"{best.radius_m:.1f} m, {often} times"),
            ("heading", f"{best.heading_deg:.0f}°"), ("score", f"{best.score:.3f}"),
        ]  # fmt: skip
        if (thing := answer.found) is not None:
            rows.append(("object", f"{thing.lat:.7f}, {thing.lon:.7f}"))
        chances = best.to_json().get("probability")
        if chances:
            rows.append(("probability", ", ".join(f"{100 * float(share):.0f} % within {metres} m" for metres, share in chances.items())))
        out.append(facts(rows, "numbers"))
    if answer.notes:
        out.append(section("Notes", tag("ul", [tag("li", _sentence(note)) for note in answer.notes], class_="notes"), key="notes"))
    return out


def _photo(told: Explanation) -> Content:
    photo = told.photo
    picture, words = photo_picture(photo, told.point), f"{photo.width_px} x {photo.height_px} px"
    if told.point is not None:
        words += f", clicked at {told.point[0]:g}, {told.point[1]:g}"
    drawn: list[Content] = [figure(picture, "The photo, ", words, ".")]
    if told.place_map is not None:
        best = told.answer.places[0]
        alt = f"North-up aerial image around {best.lat:.6f}, {best.lon:.6f} with the place, its radius and heading"
        alt += ", the outline of what the photo shows" + (" and the box of the object" if told.answer.found else "")
        caption = f"The best place: its radius, where the photo looks, and the outline of the ground it shows ({best.pose.words})"
        drawn.append(figure(shown(told.place_map, alt), caption + (", with the object's box." if told.answer.found else ".")))
    else:
        drawn.append(tag("p", "The index has no place to show."))
    return section("Photo and place", tag("div", drawn, class_="two"), key="photo")


def photo_picture(photo: Photo, point: tuple[float, float] | None) -> Markup:
    """Return the photo as an element, with a ring around the click (full-size pixels)."""
    small = fitted(photo.pixels, PHOTO_PX)
    alt = f"The photo {photo.name}"
    if point is None:
        return shown(small, alt)
    pen, share = pen_over(small), small.shape[1] / photo.width_px
    target(pen, (point[0] * share, point[1] * share))
    return shown(pen.finish(), f"{alt} with a ring around the clicked pixel")


def _rivals(told: Explanation) -> Content:
    if not told.compared:
        return None
    street = isinstance(told.answer.places[0].pose, StreetPose)
    lay = "rolled out over flat ground" if street else "laid on the ground"
    intro = (
        f"What the model compares: the photo {lay}, north up, as it would lie at each place, and the imagery there, the same square of "
        "ground. What the photo does not show is dark. The score is a third of the descriptors' cosine and two thirds of the agreement: "
        "how well the feature maps of photo and imagery correlate when the photo is held in place."
    )
    cards = [_card(number, one) for number, one in enumerate(told.compared, start=1)]
    out: list[Content] = [tag("p", intro), tag("div", cards, class_="cards")]
    if told.rival_map is not None:
        alt = "Map of the places, numbered, 1 being the best, each with the circle of its radius"
        out.append(tag("h3", "Where they lie"))
        out.append(figure(shown(told.rival_map, alt), "Places near the best one, with their radii. Farther ones are listed only."))
    return section("The best place and its rivals", *out, key="rivals")


def _card(number: int, one: Compared) -> Markup:
    side = f"place {number}"
    canvas = shown(enlarged(unseen_as(one.canvas, one.mask, _NIGHT), _SIDE_PX), f"The photo as it would lie at {side}, north up")
    ground = shown(enlarged(unseen_as(one.ground, one.valid), _SIDE_PX), f"The imagery at {side}, north up")
    place = one.place
    rows: list[tuple[str, Content]] = [("score", f"{place.score:.3f}"), ("cosine", f"{one.cosine:.3f}")]
    if one.fit is not None:
        rows.append(("agreement", f"{one.fit:.3f}"))
    if number > 1:
        rows += [("behind the best by", f"{one.lead:.3f}"), ("away from it", _distance(one.away_m))]
    rows += [
        ("place", f"{place.lat:.6f}, {place.lon:.6f}"), ("within", f"{place.radius_m:.1f} m"), ("heading", f"{place.heading_deg:.0f}°"),
        ("pose", place.pose.words),
    ]  # fmt: skip
    if place.source:
        rows.append(("imagery", [name_of(place.source), f", {place.vintage}" if place.vintage else ""]))
    title = "1, the best" if number == 1 else str(number)
    pair = tag("div", figure(canvas, "photo"), figure(ground, "imagery"), class_="pair")
    return tag("article", tag("h3", f"Place {title}"), pair, facts(rows), class_="card best" if number == 1 else "card")


def _agreement(told: Explanation) -> Content:
    if not told.parts:
        return None
    intro = (
        "Each part of the photo, some 30 m of ground around each number, is compared with the imagery by itself where the place puts it, "
        "and may move there by 3 m and turn by 3 degrees. At the true place all parts agree; at a place that fits by chance some do not. "
        "Parts that show sky, or lie off the imagery, have no say."
    )
    small = fitted(told.photo.pixels, PHOTO_PX)
    pen = pen_over(small)
    height, width = small.shape[:2]
    for number, one in enumerate(told.parts, start=1):
        at = ((0.5 + one.part[0]) * width, (0.5 + one.part[1]) * height)
        pen.disc(at, 15.0, "#10161D", rim="#FFFFFF", rim_width=2.0)
        pen.text(at, str(number), 17, "#FFFFFF", "mm", bold=True)
    picture = figure(shown(pen.finish(), "The photo with the numbered middles of its parts"), "Where the parts are.")
    heads = ["part", "best place", *(["next place"] if told.rival_parts else [])]
    rows = []
    for number, one in enumerate(told.parts, start=1):
        cells = [tag("td", str(number), class_="number"), tag("td", _fit(one.fit, one.cells, one.shown), class_="number")]
        if told.rival_parts:
            other = told.rival_parts[number - 1] if number <= len(told.rival_parts) else None
            cells.append(tag("td", "" if other is None else _fit(other.fit, other.cells, other.shown), class_="number"))
        rows.append(tag("tr", cells))
    head = tag("thead", tag("tr", [tag("th", name, scope="col", class_="number") for name in heads]))
    table = tag("div", tag("table", tag("caption", "Correlation of each part", class_="soft"), head, tag("tbody", rows)), class_="scroll")
    return section("Do all parts of the photo agree?", tag("p", intro), tag("div", picture, table, class_="two"), key="parts")


def _tried(told: Explanation) -> Content:
    if told.best is None:
        return None
    said = [tag("li", _look(number, told)) for number in range(len(told.looks))]
    out: list[Content] = [tag("ul", said, class_="notes")]
    if told.tried:
        best, pose = told.answer.places[0], told.answer.places[0].pose
        scale = "height of the camera" if isinstance(pose, StreetPose) else "metres across the photo"
        out.append(tag("h3", "How well each pose fits the ground of the best place"))
        out.append(scrolled(poses(told.tried, (best.heading_deg, pose.scale_m), scale), "Chart of the poses that were tried"))
        out.append(tag("p", "The search goes on from these to finer headings, scales and places.", class_="soft"))
    return section("Headings and scales that were tried", *out, key="poses")


def _look(number: int, told: Explanation) -> Content:
    look = told.looks[number]
    camera = look.camera
    headings = {round(pose.heading_deg, 1) for pose in look.poses}
    scales = {round(pose.scale_m, 2) for pose in look.poses}
    if not look.poses:
        tried = "no pose: it shows hardly any ground"
    else:
        tried = f"{many(len(headings), 'heading')} by {many(len(scales), 'scale')}, {many(len(set(look.poses)), 'pose')}"
    known = [
        f"{name} {value:.3g} {unit}"
        for name, value, unit in (
            ("heading", camera.heading_deg, "degrees"), ("field of view", camera.fov_deg, "degrees"), ("height", camera.height_m, "m"),
            ("tilt", camera.tilt_deg, "degrees"),
        )
        if value is not None
    ]  # fmt: skip
    kind = "a street photo" if look.kind == "street" else "a photo from above"
    best = f"best score {look.spots[0].merit:.3f}" if look.spots else "no place"
    taken = told.best is not None and look.poses == told.best.poses and look.kind == told.best.kind
    return [
        f"As {kind}, knowing {', '.join(known) or 'nothing of the camera'}: {tried}; {best}, {STATUS_NAMES[look.status]}",
        ". This is the answer's." if taken else ".",
    ]


def _timings(told: Explanation) -> Content:
    times = told.answer.timings_ms
    rows = [(STAGES.get(stage, stage), took) for stage, took in times.items() if stage != "total"]
    if not rows:
        return None
    answered_ms = times.get("total", sum(took for _, took in rows))
    total = f"{answered_ms / 1000.0:.2f} s for the answer, {told.took_ms / 1000.0:.2f} s more for this page."
    chart = scrolled(bars(rows, "ms", "Time of each stage"), "Chart of the time of each stage")
    return section("Time", chart, tag("p", total, class_="soft"), key="time")


def _made_with(told: Explanation, command: str | None) -> Content:
    rows: list[tuple[Content, Content]] = [
        (f"model of {what}", [name, " ", tag("code", sha256[:16])] if sha256 else name) for what, name, sha256 in told.models
    ]
    rows += [(f"index: {name}", value) for name, value in told.index]
    out: list[Content] = [facts(rows)]
    if command is not None:
        out += [tag("h3", "The same again"), tag("pre", tag("code", command))]
    return section("Made with", *out, key="made")


def _fit(fit: float, cells: float, seen: float) -> str:
    if cells <= 0.0:
        return "no say"
    return f"{fit:.2f}" + (f" ({100 * cells / seen:.0f} % on imagery)" if cells < 0.8 * seen else "")


def _distance(metres: float) -> str:
    if not math.isfinite(metres):
        return "another map"
    return f"{metres:.0f} m" if metres < 1000.0 else f"{metres / 1000.0:,.1f} km"


def _sentence(words: str) -> str:
    ended = words[:1].upper() + words[1:]
    return ended if ended.endswith(".") else ended + "."
