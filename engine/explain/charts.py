"""Charts as SVG inside pages: bars, histograms by status, and how the poses that were tried fit. Each says in words what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crossgeo.engine.explain.gather import Tried
from crossgeo.engine.explain.html import Markup, tag
from crossgeo.engine.words import STATUS_NAMES

_WIDTH = 640
_COLD, _WARM = (58, 76, 110), (250, 205, 80)  # of poses: dark to light, in both themes


def svg(width: float, height: float, says: str, *content: Markup | Sequence[Markup]) -> Markup:
    """Return a drawing of a size in pixels, with what it shows in words."""
    inside = tag("title", says), content
    return tag(
        "svg", inside, viewBox=f"0 0 {width:g} {height:g}", width=width, height=height, role="img", xmlns="http://www.w3.org/2000/svg"
    )


def text(x: float, y: float, words: str, anchor: str = "start", class_: str | None = None) -> Markup:
    """Return a line of text."""
    return tag("text", words, x=x, y=y, text_anchor=anchor, class_=class_)


def bars(rows: Sequence[tuple[str, float]], unit: str, says: str) -> Markup:
    """Return horizontal bars of values not below 0, each with its name and value."""
    most = max((value for _, value in rows), default=0.0) or 1.0
    left, right, step = 190, 90, 26
    drawn = []
    for number, (name, value) in enumerate(rows):
        y = number * step
        length = value / most * (_WIDTH - left - right)
        drawn += [
            text(left - 10, y + 18, name, "end"),
            tag("rect", x=left, y=y + 5, width=max(length, 1.0), height=step - 10, rx=3.0, class_="bar"),
            text(left + length + 8, y + 18, f"{value:,.0f} {unit}", class_="soft"),
        ]
    told = "; ".join(f"{name} {value:,.0f} {unit}" for name, value in rows)
    return svg(_WIDTH, max(1, len(rows)) * step, f"{says}: {told}", drawn)


def poses(tried: Sequence[Tried], chosen: tuple[float, float], scale_words: str) -> Markup:
    """Return a grid of headings and scales, light where the photo's descriptor fits the best place's ground; `chosen` is marked."""
    headings = sorted({round(one.heading_deg, 1) for one in tried})
    scales = sorted({round(one.scale_m, 2) for one in tried})
    best: dict[tuple[float, float], float] = {}
    for one in tried:
        key = round(one.heading_deg, 1), round(one.scale_m, 2)
        best[key] = max(one.cosine, best.get(key, -1.0))
    low, high = min(best.values()), max(best.values())
    left, top, foot = 86, 8, 46
    wide = min(96.0, (_WIDTH - left - 8) / len(headings))
    tall = 24.0
    cells = []
    for row, scale in enumerate(reversed(scales)):
        y = top + row * tall
        cells.append(text(left - 8, y + 17, f"{scale:.0f} m" if scale >= 10 else f"{scale:.2f} m", "end", "soft"))
        for column, heading in enumerate(headings):
            if (heading, scale) in best:
                value = best[heading, scale]
                share = (value - low) / max(high - low, 1e-9)
                red, green, blue = (round(cold + share * (warm - cold)) for cold, warm in zip(_COLD, _WARM, strict=True))
                says = f"heading {heading:.0f}°, {scale:g} m: {value:.3f}"
                at = {"x": left + column * wide, "y": y, "width": wide - 1.0, "height": tall - 1.0}
                cells.append(tag("rect", tag("title", says), fill=f"rgb({red},{green},{blue})", **at))
    y = top + len(scales) * tall
    every = max(1, round(len(headings) * 44 / (_WIDTH - left))) if len(headings) > 1 else 1
    for column, heading in enumerate(headings):
        if column % every == 0:
            cells.append(text(left + (column + 0.5) * wide, y + 17, f"{heading:.0f}°", "middle", "soft"))
    cells.append(text(left, y + 38, f"true heading across, {scale_words} up; cosine {low:.2f} (dark) to {high:.2f} (light)", class_="soft"))
    near = min(best, key=lambda key: (_apart(key[0], chosen[0]) / 15.0) ** 2 + ((key[1] - chosen[1]) / max(chosen[1], 1e-9) / 0.2) ** 2)
    column, row = headings.index(near[0]), len(scales) - 1 - scales.index(near[1])
    mark = {"x": left + column * wide, "y": top + row * tall, "width": wide - 1.0, "height": tall - 1.0}
    cells += [tag("rect", class_="halo", **mark), tag("rect", class_="here", **mark)]
    top_heading, top_scale = max(best, key=lambda key: best[key])
    says = (
        f"{len(best)} poses, {len(headings)} headings by {len(scales)} scales; the best cosine, {high:.3f}, at {top_heading:.0f}° and "
        f"{top_scale:g} m; framed is the pose next to the answer's"
    )
    return svg(_WIDTH, y + foot, says, cells)


def histogram(edges: Sequence[str], counts: Mapping[str, Sequence[int]], says: str) -> Markup:
    """Return stacked columns: for each status how many answers fall in each range, whose names are `edges`."""
    height, left, foot = 150.0, 36.0, 26.0
    wide = (_WIDTH - left) / len(edges)
    totals = [sum(column) for column in zip(*counts.values(), strict=True)] if counts else [0] * len(edges)
    most = max(totals, default=0) or 1
    drawn = [tag("line", x1=left, y1=height + 18.0, x2=_WIDTH, y2=height + 18.0, class_="rule")]
    for number, (name, total) in enumerate(zip(edges, totals, strict=True)):
        x, y = left + number * wide, height + 18.0
        for status, columns in counts.items():
            size = columns[number] / most * height
            y -= size
            if size:
                told = f"{name}: {columns[number]:,} {STATUS_NAMES.get(status, status)}"
                drawn.append(tag("rect", tag("title", told), x=x + 2, y=y, width=wide - 4, height=size, class_=f"f-{status}"))
        if total:
            drawn.append(text(x + wide / 2, y - 4, f"{total:,}", "middle"))
        drawn.append(text(x + wide / 2, height + 35.0, name, "middle", "soft"))
    told = "; ".join(f"{name}: {total:,}" for name, total in zip(edges, totals, strict=True))
    return svg(_WIDTH, height + 18.0 + foot, f"{says}: {told}", drawn)


def _apart(a: float, b: float) -> float:
    return abs((a - b + 180.0) % 360.0 - 180.0)
