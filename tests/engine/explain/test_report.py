"""The report of a batch: every photo counts, rows are bounded, what strangers named stays text, and it is written whole."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgeo.engine.explain import Report
from crossgeo.engine.explain.overview import Marks, overview
from crossgeo.engine.photo import Photo
from crossgeo.errors import LimitError
from crossgeo.indexer.index import GeoIndex

MOST_ROW_BYTES = 28_000  # two thumbnails of about 15 KB together, as base64, and the words


def rows(html: str) -> list[str]:
    return re.findall(r'<tr role="row" data-photo.*?</tr>', html, re.DOTALL)


def test_each_photo_has_a_row_with_its_pictures_and_words(report_path: Path) -> None:
    html = report_path.read_text()
    found = rows(html)
    assert [row.count("<img ") for row in found] == [2, 1, 2, 2, 1, 0], "one is gone, one has no place, one failed"
    assert [re.findall(r'data-status="(\w+)"', row)[0] for row in found] == [
        "located", "located", "ambiguous", "low_confidence", "outside_coverage", "error",
    ]  # fmt: skip
    assert "no picture: " in found[1] and "InputError" in found[5] and "was guessed" in found[0]
    assert max(len(row) for row in found) < MOST_ROW_BYTES
    assert "All of 6 photos." in html


def test_hostile_names_stay_text_everywhere(report_path: Path) -> None:
    html = report_path.read_text()
    assert html.count("<script>") == 1 and "<img src=x" not in html and "\x07" not in html
    assert "script-src 'sha256-" in unescape(html) and not re.search(r"(?:src|href)=[\"'](?!data:)", html)


def test_rows_are_capped_and_the_rest_is_counted(index_path: Path, record: Any, tmp_path: Path) -> None:
    reads = []

    def read() -> Photo:
        reads.append(1)
        return Photo.from_pixels(np.zeros((30, 40, 3), np.uint8))

    with GeoIndex.open(index_path) as index, Report(tmp_path / "r.html", index, most_rows=2) as report:
        for number in range(1005):
            report.add(record(index, number), read)
        report.finish()
    html = (tmp_path / "r.html").read_text()
    assert len(rows(html)) == len(reads) == 2
    assert "The first 2 photos; 1,003 more are counted above" in html and "1,005 answers" in html
    assert re.search(r"located</span></th><td class=\"number\">1,005</td><td class=\"number\">100 %", html)


def test_nothing_is_left_of_a_report_that_was_not_finished(index_path: Path, record: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_text("older")
    with GeoIndex.open(index_path) as index:
        with pytest.raises(KeyboardInterrupt), Report(path, index) as report:
            report.add(record(index, 0), None)
            raise KeyboardInterrupt
        assert path.read_text() == "older" and len(list(tmp_path.iterdir())) == 1
        with Report(path, index) as report:
            report.finish()
    assert "There was no photo." in path.read_text()


def test_a_full_disk_is_an_error_and_keeps_the_older_report(index_path: Path, record: Any, tmp_path: Path, room_for: Any) -> None:
    path = tmp_path / "r.html"
    path.write_text("older")
    with GeoIndex.open(index_path) as index, Report(path, index) as report:
        report.add(record(index, 0), None)
        with room_for(9_000), pytest.raises(LimitError, match=r"r\.html"):
            report.finish()
    assert path.read_text() == "older" and len(list(tmp_path.iterdir())) == 1


def test_several_points_of_a_photo_share_its_row_and_its_drive_is_told(index_path: Path, record: Any, tmp_path: Path) -> None:
    with GeoIndex.open(index_path) as index, Report(tmp_path / "r.html", index) as report:
        one = record(index, 3)
        thing = one["object"]
        one["objects"] = [
            {"point": [10.0, 20.0], "object": thing, "notes": []},
            {"point": [30.0, 9.5], "object": {**thing, "confidence": 0.31}, "notes": []},
            {"point": [999.0, 1.0], "object": None, "notes": [], "error": {"type": "UsageError", "message": "it lies outside"}},
        ]  # fmt: skip
        report.add(one, None)
        report.add({**record(index, 4), "sequence": {"group": "a", "rank": 2, "changed": True}}, None)
        report.finish()
    row, smoothed = rows((tmp_path / "r.html").read_text())
    assert "place 2 by itself; changed by it" in smoothed and "way of its drive" not in row
    assert "confidence 0.70" in row and "confidence 0.31" in row and "999, 1: it lies outside" in row


def test_the_overview_puts_answers_where_they_lie(index_path: Path, ground: Any) -> None:
    with GeoIndex.open(index_path) as index:
        segment = index.segments[0]
        west, south, east, north = segment.bounds
        x, y = (west + east) / 2, (south + north) / 2
        marks = Marks()
        plain = np.asarray(overview(index, segment, marks)).astype(int)
        for _ in range(3):
            marks.add(x, y, "located")
        marked = np.asarray(overview(index, segment, marks)).astype(int)
    assert len(marks) == 3 and marks.bounds() == (x, y, x, y)
    rows_, columns = np.nonzero(np.abs(plain - marked).max(axis=2) > 60)
    assert (columns.mean(), rows_.mean()) == (pytest.approx(359.5, abs=1.0), pytest.approx(239.5, abs=1.0))
    middle = plain[120:360, 240:480]
    side = round(240 * 1.04 * max((east - west) / 720, (north - south) / 480) / 0.5)
    own = ground.rgb[300 - side // 2 : 300 + side // 2, 300 - side // 2 : 300 + side // 2].astype(int)
    assert np.abs(middle.mean(axis=(0, 1)) - own.mean(axis=(0, 1))).max() < 8.0
