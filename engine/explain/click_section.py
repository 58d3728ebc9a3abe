"""The part of the page about the click: what the object network saw, its box, and where CVCAM and MHSAM looked."""

from __future__ import annotations

import numpy as np

from crossgeo.engine.explain.attention import Map
from crossgeo.engine.explain.gather import ClickView, Explanation
from crossgeo.engine.explain.html import Content, Markup, facts, figure, section, tag
from crossgeo.engine.explain.pictures import Pixels, box, enlarged, pen_over, shown, unseen_as, warmed
from crossgeo.engine.plot import target
from crossgeo.engine.words import no_object

_WINDOW_PX, _VIEW_PX = 400, 320


def click_section(told: Explanation) -> Content:
    """Return the part, or why there is none of it; None where nothing was clicked."""
    if told.point is None:
        return None
    view = told.click
    if view is None:
        words = no_object(told.answer.status, bool(told.answer.places), told.anyway)
        return section("The click", tag("p", f"The object at the click: {words}."), key="click")
    return section("The click", *_seen(view), *_attention(view), key="click")


def _seen(view: ClickView) -> list[Content]:
    thing = view.thing
    street = view.shown.asked.sight_m is not None
    if view.sure:
        said = f"The network is {thing.confidence:.2f} sure of its box"
        said += f", of which {view.least_confidence:g} is asked." if view.least_confidence > 0.0 else "."
    else:
        said = (
            f"The network is only {thing.confidence:.2f} sure of its best box (dashed), where {view.least_confidence:g} is asked: "
            "the answer has no object."
        )
    looked = (
        "the photo as a level camera turned towards the click would take it; the window of imagery lies ahead, with the line of sight"
        if street
        else "the photo around the click, laid on the ground north up, and the window of imagery around that ground"
    )
    rows: list[tuple[Content, Content]] = [
        ("box's middle", f"{thing.lat:.7f}, {thing.lon:.7f}"),
        ("size", f"{thing.width_m:.1f} m east-west, {thing.height_m:.1f} m north-south"),
        ("confidence", f"{thing.confidence:.3f}"),
        ("model", view.network[0]),
    ]
    pictures = tag(
        "div",
        figure(shown(_photo(view, None), "The photo as the object network sees it, with the click"), "The photo's view, with the click."),
        figure(shown(_window(view, None), "The window of imagery with the box"), "The window of imagery, with the box."),
        facts(rows),
        class_="heat",
    )
    return [tag("p", f"{said} It is shown {looked}, in {len(view.shown.window_turns)} turns and mirrorings."), pictures]


def _attention(view: ClickView) -> list[Content]:
    maps = view.maps
    if maps is None:
        return [tag("p", "There are no attention maps: the finder in use has no network to look into.")]
    drawn: list[Markup] = []
    for number, level in enumerate(maps.towards, start=1):
        caption = (
            f"CVCAM, iteration {number} of {len(maps.towards)}: where in the window the clicked place of the photo looks. {_share(level)}"
        )
        drawn.append(figure(shown(_window(view, level), f"Heat map over the window: attention of iteration {number}"), caption))
    if maps.back is not None:
        caption = f"CVCAM, last block: where in the photo the cells under the box look. {_share(maps.back)}"
        drawn.append(figure(shown(_photo(view, maps.back), "Heat map over the photo's view: attention of the box's cells"), caption))
    if maps.spatial is not None:
        low, high = float(maps.spatial.min()), float(maps.spatial.max())
        caption = f"MHSAM: how much of each cell's features passes, {low:.2f} (dark) to {high:.2f} (light), the channels' mean."
        drawn.append(figure(shown(_window(view, maps.spatial), "Heat map over the window: spatial attention"), caption))
    missing = [name for name, there in (("CVCAM", maps.back is not None), ("MHSAM", maps.spatial is not None)) if not there]
    out: list[Content] = [tag("h3", "What it attended to")]
    if drawn:
        how = (
            "Dark is little, light is much. Means over the heads and over all turns, turned back. A cell of the network's grid is "
            f"{_cell(view):.1f} m wide, so the maps are no finer than that. They come from the network's definition in torch, "
            "whatever the answer ran on: compiled engines give none, and may differ from it by rounding."
        )
        out += [tag("p", how), tag("div", drawn, class_="heat")]
    if missing:
        out.append(tag("p", f"This network has no {' and no '.join(missing)}."))
    return out


def _cell(view: ClickView) -> float:
    maps = view.maps
    grid = next((level for level in (*(maps.towards if maps else ()), maps.spatial if maps else None) if level is not None), None)
    return view.shown.bounds.size_m / (len(grid) if grid is not None else 1)


def _share(level: Map) -> str:
    """How far from even attention is, in words."""
    ordered = sorted(level.ravel().tolist(), reverse=True)
    tenth = max(1, round(len(ordered) / 10))
    return f"The tenth of the cells that gets most gets {100 * sum(ordered[:tenth]):.0f} %."


def _window(view: ClickView, heat: Map | None) -> Pixels:
    given = view.shown
    ground = enlarged(unseen_as(given.window, given.valid), _WINDOW_PX)
    pen = pen_over(ground if heat is None else warmed(ground, heat))
    scale = _WINDOW_PX / len(given.window)
    if given.sight is not None:
        x0, y0, x1, y1 = (edge * scale for edge in given.sight)
        pen.line([(x0, y0), (x1, y1)], "#FF4D6D", 1.8, casing="#FFFFFF")
    x0, y0, x1, y1 = (edge * scale for edge in view.thing.box_px)
    box(pen, (x0, y0, x1, y1), view.sure)
    return np.asarray(pen.finish())


def _photo(view: ClickView, heat: Map | None) -> Pixels:
    asked = view.shown.asked
    canvas = enlarged(unseen_as(asked.canvas, asked.mask, (16, 22, 29)), _VIEW_PX)
    pen = pen_over(canvas if heat is None else warmed(canvas, heat))
    scale = _VIEW_PX / len(asked.canvas)
    target(pen, (asked.click_px[0] * scale, asked.click_px[1] * scale), 0.8)
    return np.asarray(pen.finish())
