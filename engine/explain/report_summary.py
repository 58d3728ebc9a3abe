"""The upper part of a report: how many photos came to what, how sure and how near, where they lie, and how it was made."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from crossgeo.engine.explain.charts import histogram
from crossgeo.engine.explain.html import Content, Markup, facts, figure, joined, many, name_of, scrolled, section, tag
from crossgeo.engine.explain.overview import Marks, overview
from crossgeo.engine.explain.pictures import shown
from crossgeo.engine.words import STATUS_NAMES, STATUS_WORDS
from crossgeo.indexer.index import GeoIndex

STATUSES = ("located", "ambiguous", "low_confidence", "outside_coverage")
RADII_M = (5.0, 10.0, 25.0, 50.0, 100.0)  # where the ranges of the histogram end
SCORES = tuple(k / 10 for k in range(1, 10))
_MOST_MAPS = 4
_ERROR = "error: could not be answered"


@dataclass(frozen=True)
class Summary:
    """What is known of all photos of a batch."""

    counts: Mapping[str, int]  # by status, and "error"
    radii_m: Mapping[str, Sequence[float]]  # of best places, by status
    scores: Mapping[str, Sequence[float]]
    marks: Mapping[int, Marks]  # by number of the segment
    took_ms: Sequence[float]
    rows: int  # that follow in the table
    index: GeoIndex
    command: str | None


def summary(told: Summary) -> Markup:
    """Return the page's header and its sections up to the table, whose own section is left open."""
    total = sum(told.counts.values())
    header = tag("header", tag("h1", "Report of a batch"), _numbers(told, total), class_="top")
    parts = [_distributions(told), _maps(told), _made(told)]
    more = total - told.rows
    words = f"All of {many(total, 'photo')}."
    if more:
        words = f"The first {many(told.rows, 'photo')}; {more:,} more are counted above, and on the map."
    tools = tag(
        "div",
        tag("label", "Search", tag("br"), tag("input", type="search", id="word", autocomplete="off")),
        tag("label", "Status", tag("br"), tag("select", _choices(told.counts), id="only")),
        tag("span", role="status", class_="soft"),
        class_="tools",
        hidden=True,
    )
    table = joined([tag("h2", "Photos", id="answers"), tag("p", words, class_="soft"), tools])
    return Markup(f'{header}<main>{joined(parts)}<section aria-labelledby="answers">{table}')


def _numbers(told: Summary, total: int) -> Content:
    """The counts by status, each with what it means."""
    rows = []
    for status in (*STATUSES, "error"):
        count = told.counts.get(status, 0)
        if count:
            words = STATUS_WORDS.get(status, _ERROR).partition(": ")[2] or "to be relied on"
            badge = tag("span", STATUS_NAMES.get(status, status), class_=f"status s-{status}")
            number = tag("td", f"{count:,}", class_="number"), tag("td", f"{100 * count / total:.0f} %", class_="number")
            rows.append(tag("tr", tag("th", badge, scope="row"), number, tag("td", words)))
    if not rows:
        return tag("p", "There was no photo.")
    head = tag("thead", tag("tr", [tag("th", name, scope="col", class_=kind) for name, kind in
                                   (("status", None), ("photos", "number"), ("share", "number"), ("meaning", None))]))  # fmt: skip
    return tag("div", tag("table", head, tag("tbody", rows)), class_="scroll")


def _distributions(told: Summary) -> Content:
    if not any(told.scores.values()):
        return None
    scores = histogram(_ranges((0.0, *SCORES, 1.0)), _counted(told.scores, SCORES), "Scores of the best places")
    radii = histogram(_lengths(), _counted(told.radii_m, RADII_M), "Radii of the best places")
    drawn = [
        figure(scrolled(scores, "Chart of scores"), "Score of the best place."),
        figure(scrolled(radii, "Chart of radii"), "Radius of the best place."),
    ]
    legend = [tag("span", STATUS_NAMES[status], class_=f"status s-{status}") for status in STATUSES if told.scores.get(status)]
    return section("How sure, how near", tag("div", drawn, class_="two"), tag("p", _spaced(legend), class_="soft"), key="sure")


def _maps(told: Summary) -> Content:
    marks = sorted(told.marks.items(), key=lambda item: -len(item[1]))
    if not marks:
        return None
    drawn = []
    for number, own in marks[:_MOST_MAPS]:
        segment = told.index.segments[number]
        picture = overview(told.index, segment, own)
        alt = f"Map of {many(len(own), 'answer')} over the imagery and tiles of {segment.crs.to_string()}"
        drawn.append(figure(shown(picture, alt, 80), f"{many(len(own), 'answer')} in {segment.crs.to_string()}."))
    words = "Green discs are located photos, orange diamonds ambiguous ones, red triangles doubtful ones; grey is ground of the index."
    left = sum(len(own) for _, own in marks[_MOST_MAPS:])
    if left:
        words += f" {left:,} answers on {len(marks) - _MOST_MAPS} other maps are not drawn."
    return section("Where they lie", tag("div", drawn, class_="two"), tag("p", words, class_="soft"), key="map")


def _made(told: Summary) -> Content:
    manifest = told.index.manifest
    names = list(dict.fromkeys(source.name for source in manifest.sources))
    rows: list[tuple[Content, Content]] = [
        ("index, generation", str(manifest.generation)), ("index, content", manifest.hash), ("model", manifest.identity.name),
        ("imagery", name_of(", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else ""))),
    ]  # fmt: skip
    took = [value for value in told.took_ms if value > 0.0]
    if took:
        rows.append(("time of an answer, median", f"{median(took) / 1000.0:.2f} s"))
    again = [tag("h3", "The same again"), tag("pre", tag("code", told.command))] if told.command else []
    return section("Made with", facts(rows), again, key="made")


def _choices(counts: Mapping[str, int]) -> list[Markup]:
    known = [status for status in (*STATUSES, "error") if counts.get(status)]
    return [tag("option", "all", value=""), *(tag("option", STATUS_NAMES.get(status, status), value=status) for status in known)]


def _counted(values: Mapping[str, Sequence[float]], edges: Sequence[float]) -> dict[str, list[int]]:
    """How many values lie up to each edge and past the one before, and past the last."""
    out = {}
    for status, own in values.items():
        if own:
            counts = [0] * (len(edges) + 1)
            for value in own:
                counts[bisect_left(edges, value)] += 1
            out[status] = counts
    return out


def _ranges(edges: Sequence[float]) -> list[str]:
    return [f"{low:g}-{high:g}" for low, high in pairwise(edges)]


def _lengths() -> list[str]:
    inner = [f"{low:g}-{high:g} m" for low, high in pairwise(RADII_M)]
    return [f"to {RADII_M[0]:g} m", *inner, f"over {RADII_M[-1]:g} m"]


def _spaced(parts: Sequence[Markup]) -> Markup:
    return Markup(" ".join(parts))
