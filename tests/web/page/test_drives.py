"""Photos of one drive on the map page: asked together, their way on the map, and a running job found again when the page is loaded anew."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from busy import held
from PIL import Image
from playwright.sync_api import expect


@pytest.fixture
def drive(ground: Any, tmp_path: Path) -> list[str]:
    """Photos 20 m apart that look straight down from 43 m, and one of another place in between."""
    out = []
    for number, (east, north) in enumerate([(90.0, 60.0), (110.0, 60.0), (130.0, 60.0), (200.0, 180.0), (150.0, 60.0)]):
        path = tmp_path / f"photo_{number:04d}.jpg"
        Image.fromarray(ground.photo(363_000.0 + east, 3_057_300.0 + north, 0.0, 60.0).pixels).save(path, quality=95)
        out.append(str(path))
    return out


def test_the_way_of_a_drive_is_drawn_with_what_it_changed(open_page: Any, drive: list[str], tmp_path: Path, know_camera: Any) -> None:
    page = open_page()
    page.set_input_files("#files", drive)
    know_camera(page)
    page.locator("#drive > summary").click()
    page.locator("#sequence").check()
    page.locator("#max_step_m").fill("-3")
    page.locator("#locate-all").click()
    expect(page.get_by_role("alert")).to_contain_text("The greatest step from photo to photo is a number from 0.01")
    page.locator("#max_step_m").fill("40")
    page.locator("#locate-all").click()
    expect(page.locator("#drive-text")).to_have_text("1 drive: 4 of 5 photos on the way, 1 answer changed by it.", timeout=60_000)
    expect(page.locator("#stop-job")).to_be_hidden()
    expect(page.locator("#map")).to_have_attribute("data-stops", "4 0")
    expect(page.locator(".item-state").nth(3)).to_have_text("\u21c4 Changed by its drive: Low confidence")
    page.locator("#filter").select_option("driven")
    expect(page.locator("#photo-name")).to_have_text("photo_0003.jpg")
    expect(page.locator("#answer, #status").filter(has_text="does not fit the way of its drive").first).to_be_visible()

    page.locator("#save-results").click()
    with page.expect_download() as saving:
        page.get_by_role("button", name="CSV", exact=True).click()
    saving.value.save_as(tmp_path / "answers.csv")
    rows = list(csv.DictReader((tmp_path / "answers.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["located"] * 3 + ["low_confidence", "located"]
    page.locator("#objects-format").select_option("jsonl")
    with page.expect_download() as saving:
        page.get_by_role("button", name="Objects", exact=True).click()
    assert saving.value.suggested_filename == "objects.jsonl"
    with page.expect_download() as saving:
        page.get_by_role("button", name="JSON lines", exact=True).click()
    saving.value.save_as(tmp_path / "answers.jsonl")
    assert [json.loads(line)["sequence"]["rank"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()] == [1, 1, 1, None, 1]
    page.locator("#save-box").get_by_role("button", name="Close").click()

    page.reload()  # what geo batch wrote shows the same way
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("#map")).to_have_attribute("data-stops", "0 0")
    page.set_input_files("#files", [str(tmp_path / "answers.jsonl")])
    expect(page.locator("#map")).to_have_attribute("data-stops", "4 0")


def test_a_running_job_is_found_again_when_the_page_is_loaded_anew(
    open_page: Any, drive: list[str], service: Any, know_camera: Any
) -> None:
    page = open_page()
    with held(service.indexes):
        page.set_input_files("#files", drive[:2])
        know_camera(page)
        page.locator("#locate-all").click()
        expect(page.locator("#job-text")).to_contain_text("0 of 2")
        page.reload()
        page.wait_for_selector("body[data-ready]")
        expect(page.locator("#batch-title")).to_have_text("2 photos")
        expect(page.locator(".item-state")).to_have_text(["Waiting", "Waiting"])
        expect(page.locator("#stop-job")).to_be_visible()
        page.set_input_files("#files", drive[4:])
        expect(page.get_by_role("alert")).to_contain_text("A batch is running")
        page.set_input_files("#files", drive[:2])
        expect(page.locator("#photo-image")).to_be_visible()
    expect(page.locator(".item-state")).to_have_text(["Located", "Located"], timeout=60_000)
    expect(page.locator("#stop-job")).to_be_hidden()
    expect(page.locator("#photo-name")).to_have_text("photo_0000.jpg")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("#empty")).to_be_visible()


def test_a_job_found_again_can_be_stopped(open_page: Any, drive: list[str], service: Any) -> None:
    page = open_page()
    with held(service.indexes):
        page.set_input_files("#files", drive[:2])
        page.locator("#locate-all").click()
        expect(page.locator("#job-text")).to_contain_text("0 of 2")
        page.reload()
        page.locator("#stop-job").click()
        expect(page.locator("#stop-job")).to_be_hidden()
    (job,) = page.evaluate("fetch('/v1/jobs').then((answer) => answer.json())")["jobs"]
    assert job["state"] == "cancelled" and page.locator("#problem").text_content() == ""
