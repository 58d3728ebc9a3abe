"""One photo on the map page: dropped, clicked, located, drawn where it lies; by mouse, by keys, on a phone, and when things go wrong."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect
from shapely.geometry import shape

from crossgeo.engine import words

WAIT_MS = 240_000  # for an answer, on a machine that does other things as well
BOX_RGB = (255, 197, 49)
M_PER_DEG = 111_195.0
PHOTO_PX = (1024, 768)
DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, { type: "image/jpeg" }));
  for (const kind of ["dragenter", "dragover", "drop"]) document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
}"""  # noqa: E501


def shown(page: Page) -> None:
    """Wait until the photo is drawn."""
    page.locator("#photo-image").wait_for(state="visible")


def on_screen(page: Page, point: list[float]) -> tuple[float, float]:
    """Where on the screen a pixel of the photo is."""
    frame = page.locator("#photo-image").bounding_box()
    assert frame is not None
    return frame["x"] + point[0] * frame["width"] / PHOTO_PX[0], frame["y"] + point[1] * frame["height"] / PHOTO_PX[1]


def drawn_box(page: Page) -> tuple[float, float, float, float]:
    """The box that the map shows, by its colour on the screen: west, south, east, north."""
    page.locator("#map[data-view]").wait_for()
    west, south, east, north = (float(v) for v in str(page.locator("#map").get_attribute("data-view")).split(","))
    pixels = np.asarray(Image.open(io.BytesIO(page.locator("#map").screenshot())).convert("RGB")).astype(int)
    rows, columns = np.nonzero((np.abs(pixels - BOX_RGB) < 24).all(axis=2))
    assert len(rows) > 100, "no box is drawn"
    high, wide = pixels.shape[:2]
    across, up = (east - west) / wide, (north - south) / high  # of a few hundred metres: Mercator is as good as straight
    return west + columns.min() * across, north - (rows.max() + 1) * up, west + (columns.max() + 1) * across, north - rows.min() * up


def metres_off(a: dict[str, Any], b: dict[str, Any]) -> float:
    east = (a["lon"] - b["lon"]) * np.cos(np.radians(a["lat"]))
    return float(np.hypot(a["lat"] - b["lat"], east) * M_PER_DEG)


@pytest.mark.timeout(900)
def test_a_dropped_photo_is_clicked_and_its_object_is_boxed_on_the_imagery(open_page: Any, town: Any, address: str) -> None:
    page = open_page(at=address)
    page.evaluate(DROP, ["photo_0001.jpg", base64.b64encode(town.photo(1).read_bytes()).decode()])
    shown(page)
    clicked = town.objects(1)[0]
    page.mouse.click(*on_screen(page, clicked["point_px"]))
    expect(page.locator("#point-hint")).to_contain_text("Object at")
    with page.expect_response("**/v1/locate", timeout=WAIT_MS) as waited:
        page.get_by_role("button", name="Locate").click()
    answer = waited.value.json()
    expect(page.locator("#status")).to_contain_text("Located")
    assert metres_off(answer["places"][0], town.truth(1)) < 5.0
    assert metres_off(answer["object"], clicked) < 5.0
    expect(page.locator("#answer")).to_contain_text(f"{answer['object']['lat']:.6f}, {answer['object']['lon']:.6f}")
    expect(page.get_by_role("button", name=re.compile("^Place 1,"))).to_have_attribute("aria-pressed", "true")
    page.locator("#map[data-view]").wait_for()
    found, wanted = drawn_box(page), shape(answer["object"]["polygon"]).bounds
    assert np.abs(np.subtract(found, wanted)).max() * M_PER_DEG < 1.0
    with page.expect_download() as saving:
        page.get_by_role("button", name="GeoJSON").click()
    (feature,) = json.loads(Path(saving.value.path()).read_text())["features"]
    assert feature["properties"] == answer
    assert feature["geometry"] == answer["object"]["polygon"]


def test_keys_alone_open_point_locate_and_judge(open_page: Any, flight: Any, answers: Callable[..., Path]) -> None:
    def known(page: Page) -> None:
        page.on("filechooser", lambda chooser: chooser.set_files(flight[1].path))
        page.route("**/v1/locate", lambda route: route.fulfill(content_type="application/json", body=answers("located").read_text()))

    page = open_page(before=known)
    page.keyboard.press("o")
    shown(page)
    page.keyboard.press("p")
    expect(page.locator("#photo")).to_be_focused()
    expect(page.locator("#photo-cursor")).to_have_js_property("hidden", False)
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Shift+ArrowLeft", "Enter"):
        page.keyboard.press(key)
    hint = page.locator("#point-hint").inner_text()
    x, y = (int(v) for v in re.findall(r"\d+", hint))
    assert x > 100 and y > 75  # the middle of the photo
    page.keyboard.press("Escape")
    expect(page.locator("#point-hint")).to_contain_text("Click the object first")
    page.keyboard.press("+")
    page.keyboard.press("Enter")
    expect(page.locator("#point-hint")).to_have_text(hint)
    page.keyboard.press("l")
    expect(page.locator("#status")).to_contain_text("Located")
    page.route("**/v1/explain", lambda route: route.fulfill(content_type="text/html", body="<p>Why"))
    with page.expect_download() as saving:
        page.locator("#explain").press("Enter")
    assert (saving.value.suggested_filename, Path(saving.value.path()).read_text()) == ("photo_0001.html", "<p>Why")
    page.keyboard.press("2")
    expect(page.locator(".rival").nth(1)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("1")
    page.keyboard.press("y")
    expect(page.locator("#judged")).to_have_text("Right, as it was answered.")
    page.keyboard.press("m")
    expect(page.locator("#move-at")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("27.6347, 85.6121")
    page.keyboard.press("Enter")
    expect(page.locator("#judged")).to_contain_text("Put there by hand")
    expect(page.locator("#move-at")).to_be_focused()
    expect(page.locator("#answer")).to_contain_text("Place set by hand")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("u")
    expect(page.locator("#judged")).to_contain_text("Not judged yet")


def test_every_control_is_reached_with_tab_and_shows_the_focus(open_page: Any, flight: Any) -> None:
    page = open_page()
    page.set_input_files("#files", [str(flight[0].path)])
    shown(page)
    page.locator("#options > summary").click()
    page.evaluate("document.activeElement.blur()")
    met, unseen = [], []
    for _ in range(60):
        page.keyboard.press("Tab")
        about = page.evaluate(
            "() => { const e = document.activeElement, s = getComputedStyle(e), p = getComputedStyle(e, '::before');"
            "return [e.id || e.getAttribute('aria-label') || e.tagName, s.outlineStyle !== 'none' || p.borderStyle === 'solid'"
            " || s.boxShadow !== 'none'] }"
        )
        met.append(about[0])
        unseen += [] if about[1] or about[0] == "BODY" else [about[0]]
    wanted = {"open", "open-folder", "theme", "help", "photo", "more-points", "clear-points", "photo-in", "map-all", "locate", "kind"}
    assert wanted | {"heading_deg", "near", "pick-near", "use-bounds", "anyway", "reset-options", "Zoom in"} <= set(met)
    assert unseen == []


def test_what_is_wrong_is_said_in_words_and_nothing_is_lost(open_page: Any, flight: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(flight[0].path.read_bytes()[:300])
    page = open_page(expected=("status of 422", "status of 503", "ERR_FAILED"))
    page.set_input_files("#files", [str(broken)])
    expect(page.locator("#photo")).to_have_attribute("data-says", re.compile("cannot show broken.jpg"))
    page.keyboard.press("l")
    expect(page.get_by_role("alert")).to_contain_text("broken.jpg")
    expect(page.get_by_role("alert")).to_contain_text("The photo cannot be read")
    expect(page.get_by_role("alert")).to_contain_text("Request ")
    page.locator("#options > summary").click()
    page.locator("#heading_deg").fill("500")
    page.locator("#locate").click()
    expect(page.get_by_role("alert")).to_have_text(re.compile("The heading is a number from 0 to 360"))
    expect(page.locator("#heading_deg")).to_be_focused()
    page.locator("#heading_deg").fill("")
    page.locator("#near").fill("north of here")
    page.locator("#locate").click()
    expect(page.get_by_role("alert")).to_contain_text("a latitude and a longitude")
    page.locator("#reset-options").click()
    tries: list[str] = []

    def busy_then_gone(route: Route) -> None:
        tries.append(route.request.method)
        if len(tries) == 1:
            problem = {"title": "Too many questions are waiting", "status": 503, "code": "busy", "detail": "64 questions wait"}
            headers = {"Retry-After": "1", "Content-Type": "application/problem+json"}
            route.fulfill(status=503, headers=headers, body=json.dumps(problem))
        else:
            route.abort()

    page.route("**/v1/locate", busy_then_gone)
    page.locator("#locate").click()
    expect(page.get_by_role("alert")).to_contain_text("Is geo serve still running?")
    assert len(tries) == 2
    expect(page.locator("#photo-name")).to_have_text("broken.jpg")


def test_a_service_with_keys_is_asked_with_the_key_that_the_user_gives(open_page: Any) -> None:
    def locked(page: Page) -> None:
        def guard(route: Route) -> None:
            if route.request.headers.get("authorization") == "Bearer 7":
                route.continue_()
            else:
                route.fulfill(status=401, headers={"Content-Type": "application/problem+json"}, body='{"title": "A key is needed"}')

        page.route("**/v1/**", guard)
        page.on("load", lambda _: page.locator("#api-key").fill("7"))
        page.on("load", lambda _: page.keyboard.press("Enter"))

    page = open_page(before=locked, expected=("status of 401",))
    expect(page.locator("#index")).to_contain_text("index")
    page.locator("#map[data-view]").wait_for()  # with its tiles


def test_without_webgl_the_answer_stands_as_text(open_page: Any, answers: Callable[..., Path]) -> None:
    blind = (
        "const own = HTMLCanvasElement.prototype.getContext; HTMLCanvasElement.prototype.getContext ="
        " function (kind, ...more) { return kind.startsWith('webgl') ? null : own.call(this, kind, ...more) }"
    )
    page = open_page(before=lambda page: page.add_init_script(blind))
    expect(page.locator("#no-map")).to_contain_text("no WebGL")
    page.set_input_files("#files", [str(answers("located"))])
    expect(page.locator("#answer")).to_contain_text("Object")
    page.keyboard.press("m")
    expect(page.locator("#move-at")).to_be_visible()


def test_a_phone_shows_all_of_it_in_one_column(open_page: Any, flight: Any, answers: Callable[..., Path]) -> None:
    page = open_page(360, 740, has_touch=True, is_mobile=True)
    page.set_input_files("#files", [str(answers("located", "ambiguous"))])
    page.set_input_files("#files", [str(flight[0].path), str(flight[1].path)])
    shown(page)
    page.locator("#photo").tap()
    expect(page.locator("#point-hint")).to_contain_text("Object at")
    page.locator("#options > summary").tap()
    page.locator("#drive > summary").tap()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for button in page.locator("button:visible, input:visible, select:visible").all():
        frame = button.bounding_box()
        assert frame is not None
        assert frame["x"] >= 0 and frame["x"] + frame["width"] <= 360.5, button.inner_text()
        assert min(frame["width"], frame["height"]) >= 14, button.inner_text()
    bottom = page.locator("#locate").bounding_box()
    assert bottom is not None and bottom["y"] + bottom["height"] <= 740
    page.locator("#save-review").tap()  # nothing lies over it
    expect(page.locator("#save-title")).to_have_text("Nothing is judged yet")
    page.locator("#save-box").get_by_role("button", name="Close").tap()
    page.locator("#status").scroll_into_view_if_needed()
    frames = [page.locator(f"#{part}").bounding_box() for part in ("map-pane", "status", "options")]
    assert all(frame is not None for frame in frames)
    tops = [frame["y"] for frame in frames if frame is not None]
    assert tops == sorted(tops), "the answer stands right below the map"


def test_the_page_has_words_for_every_status(open_page: Any, answers: Callable[..., Path]) -> None:
    page = open_page()
    page.set_input_files("#files", [str(answers(*words.STATUS_NAMES))])
    for name in words.STATUS_NAMES.values():
        expect(page.locator("#status b")).to_have_text(name.capitalize())
        page.keyboard.press("j")
