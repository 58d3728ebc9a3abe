"""Many photos on the map page: located as a job, gone through, corrected by hand, and the corrections taken away as training pairs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from crossgeo.training.evaluation.engine_places import read_truth

M_PER_DEG = 111_195.0


def saved(page: Page, of: str, name: str, to: Path) -> Path:
    """Save what a button of a save box offers; return the file."""
    page.locator(f"#save-{of}").click()
    with page.expect_download() as saving:
        page.get_by_role("button", name=name, exact=True).click()
    saving.value.save_as(to / saving.value.suggested_filename)
    page.locator("#save-box").get_by_role("button", name="Close").click()
    return to / str(saving.value.suggested_filename)


def drag(page: Page, selector: str, right_px: float, down_px: float) -> None:
    frame = page.locator(selector).bounding_box()
    assert frame is not None
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right_px / 2, y + down_px / 2, steps=3)
    page.mouse.move(x + right_px, y + down_px, steps=3)
    page.mouse.up()


def test_a_batch_is_located_reviewed_and_its_corrections_are_training_pairs(
    open_page: Any, flight: Any, tmp_path: Path, know_camera: Any, show_first: Any
) -> None:
    broken = tmp_path / "photo_9.jpg"
    broken.write_bytes(b"\xff\xd8 no photo")
    page = open_page()
    page.set_input_files("#files", [str(broken), str(flight[1].path), str(flight[0].path)])
    expect(page.locator("#batch-title")).to_have_text("3 photos")
    know_camera(page)
    page.locator("#locate-all").click()
    expect(page.locator("#stop-job")).to_be_hidden(timeout=60_000)
    assert page.locator("#problem").text_content() == ""
    expect(page.locator("#locate-all")).to_have_text("Try 1 again")
    expect(page.locator(".item-state")).to_have_text(["Located", "Located", "Failed"])
    page.locator("#filter").select_option("failed")
    expect(page.locator("#status")).to_contain_text("photo_9.jpg")
    expect(page.locator(".item-state")).to_have_text(["Failed"])
    show_first(page, "all", "photo_0000.jpg")
    page.keyboard.press("y")
    page.keyboard.press("j")
    expect(page.locator("#photo-name")).to_have_text("photo_0001.jpg")
    page.keyboard.press("m")
    page.locator("#map[data-view]").wait_for()
    west, south, east, north = (float(v) for v in str(page.locator("#map").get_attribute("data-view")).split(","))
    drag(page, ".handle:not(.nose)", 60.0, -30.0)
    expect(page.locator("#judged")).to_contain_text("Put there by hand")
    page.locator("#move-heading").fill("123.5")
    page.keyboard.press("Enter")
    expect(page.locator(".verdict")).to_have_count(2)

    answers = [json.loads(line) for line in saved(page, "results", "JSON lines", tmp_path).read_text().splitlines()]
    assert [row["photo"] for row in answers] == ["photo_0000.jpg", "photo_0001.jpg", "photo_9.jpg"]
    assert "error" in answers[2]
    first, second = answers[0]["places"][0], answers[1]["places"][0]
    folder = tmp_path / "pairs"
    folder.mkdir()
    for number in (0, 1):
        (folder / f"photo_{number:04d}.jpg").write_bytes(flight[number].path.read_bytes())
    right, moved = read_truth(saved(page, "review", "truth.geojson", folder))
    assert (right.lat, right.lon, right.heading_deg) == (first["lat"], first["lon"], first["heading_deg"])
    frame = page.locator("#map").bounding_box()
    assert frame is not None
    across, up = (east - west) / frame["width"] * 60.0, (north - south) / frame["height"] * 30.0
    assert np.hypot(moved.lon - second["lon"] - across, moved.lat - second["lat"] - up) * M_PER_DEG < 1.0
    assert moved.heading_deg == 123.5
    page.keyboard.press("n")
    rows = list(csv.DictReader(saved(page, "review", "judgements.csv", folder).read_text().splitlines()))
    assert [(row["photo"], row["verdict"], row["how"]) for row in rows] == [
        ("photo_0000.jpg", "right", "answer"), ("photo_0001.jpg", "wrong", "answer"),
    ]  # fmt: skip

    page.reload()  # judgements are kept, and the answers that were saved can be gone on with
    page.wait_for_selector("body[data-ready]")
    page.set_input_files("#files", [str(tmp_path / "answers.jsonl")])
    expect(page.locator(".verdict.wrong")).to_have_count(1)
    page.set_input_files("#files", [str(flight[0].path), str(flight[1].path)])
    expect(page.locator("#photo-image")).to_be_visible()
    expect(page.locator("#batch-title")).to_have_text("3 photos")
    expect(page.locator(".verdict.right")).to_have_count(1)


def test_a_thousand_answers_are_stepped_through_while_few_rows_exist(open_page: Any, answers: Callable[..., Path], show_first: Any) -> None:
    page = open_page()
    page.set_input_files("#files", [str(answers(*(["located", "ambiguous", "low_confidence", "outside_coverage"] * 250)))])
    expect(page.locator("#batch-title")).to_have_text("1,000 photos")
    assert page.locator(".item").count() < 40
    page.locator("#list").focus()
    page.keyboard.press("End")
    expect(page.locator("#photo-name")).to_have_text("photo_0999.jpg")
    expect(page.locator("#list [aria-selected=true]")).to_have_attribute("aria-posinset", "1000")
    show_first(page, "ambiguous", "photo_0001.jpg")
    page.keyboard.press("3")
    page.keyboard.press("y")
    expect(page.locator("#judged")).to_contain_text("Another place is right: place 3")


def test_a_file_that_holds_no_answers_is_refused_in_words(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    for name, text, said in (
        ("a.jsonl", "{", "it is not JSON"),
        ("b.geojson", '{"features": []}', "holds no answers"),
        ("c.txt", "", "no photo"),
    ):
        (tmp_path / name).write_text(text)
        page.set_input_files("#files", [str(tmp_path / name)])
        expect(page.get_by_role("alert")).to_contain_text(said)
    expect(page.locator("#empty")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page: Any, flight: Any, answers: Callable[..., Path], scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    empty = Axe().run(page)
    page.set_input_files("#files", [str(answers("located", "ambiguous", "low_confidence", "outside_coverage"))])
    page.set_input_files("#files", [str(flight[0].path), str(flight[1].path)])
    expect(page.locator("#photo-image")).to_be_visible()
    page.locator("#options > summary").click()
    page.locator("#drive > summary").click()
    page.locator("#photo").click()
    page.keyboard.press("y")
    page.keyboard.press("m")
    page.locator("#locate").focus()
    full = Axe().run(page)
    page.locator("#save-review").click()
    box = Axe().run(page)
    page.keyboard.press("Escape")
    page.locator("#help").click()
    keys = Axe().run(page)
    found = [
        (fault["id"], fault["impact"], [node["html"] for node in fault["nodes"]][:3])
        for report in (empty, full, box, keys)
        for fault in report.response["violations"]
        if fault["impact"] in ("serious", "critical")
    ]
    assert found == []
