"""Batches: bad photos are rows, an interruption loses nothing, the order is that of the names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crossgeo.engine.batch import BatchOptions, BatchProgress, photos_in, run_batch
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import InputError, MismatchError, UsageError

X, Y = 363_147.0, 3_057_452.0


@pytest.fixture
def folder(tmp_path: Path, ground: Any) -> Path:
    """Four good photos, one of them in a subfolder, one cut short, and what is no photo."""
    photos = tmp_path / "photos"
    (photos / "late").mkdir(parents=True)
    for number, name in enumerate(("b.png", "a.png", "late/c.png", "d.png")):
        Image.fromarray(ground.photo(X + 20.0 * number, Y, 40.0 * number, 95.0).pixels).save(photos / name)
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:2000])
    (photos / "notes.txt").write_text("no photo")
    return photos


def records(path: Path) -> list[dict[str, Any]]:
    out = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for record in out:
        record.pop("timings_ms", None)
    return out


def test_every_photo_has_its_row_in_order_of_names_and_a_bad_one_says_why(search: GeoSearch, folder: Path, tmp_path: Path) -> None:
    seen: list[BatchProgress] = []
    got: list[tuple[int, dict[str, Any]]] = []
    report = run_batch(search, photos_in(folder), tmp_path / "out.jsonl", progress=seen.append, each=lambda *row: got.append(row))
    rows = records(tmp_path / "out.jsonl")
    assert [row["photo"] for row in rows] == ["a.png", "b.png", "broken.png", "d.png", "late/c.png"]
    assert rows[2]["error"]["type"] == "InputError"
    assert "cut short" in rows[2]["error"]["message"]
    assert [row.get("status") for row in rows if "error" not in row] == ["located"] * 4
    assert (report.total, report.failed, report.resumed) == (5, 1, 0)
    told = [(at.done, at.total, at.located, at.failed) for at in seen]
    assert told == [(1, 5, 1, 0), (2, 5, 2, 0), (3, 5, 2, 1), (4, 5, 3, 1), (5, 5, 4, 1)]
    assert [(n, record["photo"]) for n, record in got] == list(enumerate(row["photo"] for row in rows))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == ["out.jsonl"]


def test_an_interrupted_batch_goes_on_where_it_stopped(search: GeoSearch, folder: Path, tmp_path: Path) -> None:
    items, out = photos_in(folder), tmp_path / "out.jsonl"

    def stop(at: BatchProgress) -> None:
        if at.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(search, items, out, progress=stop)
    assert not out.exists()
    asked: list[str] = []
    plain = search.query
    search.query = lambda photo, **options: (asked.append(photo.name), plain(photo, **options))[1]  # type: ignore[method-assign]
    report = run_batch(search, items, out)
    assert asked == ["d.png", "late/c.png"]
    assert report.resumed == 2
    search.query = plain  # type: ignore[method-assign]
    run_batch(search, items, tmp_path / "whole.jsonl")
    assert records(out) == records(tmp_path / "whole.jsonl")


def test_a_torn_last_line_of_the_journal_is_done_again(search: GeoSearch, folder: Path, tmp_path: Path) -> None:
    items, out = photos_in(folder), tmp_path / "out.jsonl"

    def stop(at: BatchProgress) -> None:
        if at.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(search, items, out, progress=stop)
    journal = tmp_path / "out.jsonl.partial.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    assert run_batch(search, items, out).resumed == 1
    assert len(records(out)) == 5


def test_a_photo_that_changed_meanwhile_is_asked_again(search: GeoSearch, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    def stop(at: BatchProgress) -> None:
        if at.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(search, photos_in(folder), out, progress=stop)
    (folder / "a.png").write_bytes((folder / "d.png").read_bytes())
    assert run_batch(search, photos_in(folder), out).resumed == 1
    rows = {row["photo"]: row for row in records(out)}
    assert rows["a.png"]["places"] == rows["d.png"]["places"]


def test_answers_to_another_question_are_not_mixed_in(search: GeoSearch, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    def stop(at: BatchProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(search, photos_in(folder), out, progress=stop)
    with pytest.raises(MismatchError, match=r"partial\.jsonl"):
        run_batch(search, photos_in(folder), out, BatchOptions(top=2))


def test_an_output_that_exists_is_kept_unless_told(search: GeoSearch, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        run_batch(search, photos_in(folder), out)
    assert out.read_text() == "mine"
    run_batch(search, photos_in(folder), out, overwrite=True)
    assert out.read_text().startswith("photo,")


def test_a_folder_without_photos_or_without_itself_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        photos_in(tmp_path / "none")
    with pytest.raises(InputError, match="no photo"):
        photos_in(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        BatchOptions(top=0), BatchOptions(heading_deg=400.0), BatchOptions(fov_deg=0.5), BatchOptions(near=(91.0, 0.0)),
        BatchOptions(radius_m=9.0), BatchOptions(radius_m=-1.0, use_exif_position=True), BatchOptions(kind="street"),
        BatchOptions(kind="drone", fov_deg=360.0),
    ],
)  # fmt: skip
def test_options_that_fit_no_photo_are_refused_before_the_first(
    search: GeoSearch, folder: Path, tmp_path: Path, wrong: BatchOptions
) -> None:
    with pytest.raises(UsageError):
        run_batch(search, photos_in(folder), tmp_path / "out.jsonl", wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


CHILD = """
import importlib.util, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("engine_conftest", sys.argv[1])
shared = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shared)
from crossgeo.engine.batch import photos_in, run_batch
from crossgeo.engine.search import GeoSearch
from crossgeo.indexer.index import GeoIndex
with GeoSearch(GeoIndex.open(Path(sys.argv[2])), shared.ColourDescriber()) as search:
    run_batch(search, photos_in(Path(sys.argv[3])), Path(sys.argv[4]), progress=lambda *at: time.sleep(0.2))
"""


def test_a_killed_batch_loses_nothing_that_was_answered(search: GeoSearch, folder: Path, tmp_path: Path, index_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    journal = tmp_path / "out.jsonl.partial.jsonl"
    shared = Path(__file__).with_name("conftest.py")
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(shared), str(index_path), str(folder), str(out)])
    while child.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 3):
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not out.exists()
    report = run_batch(search, photos_in(folder), out)
    assert report.resumed >= 2
    run_batch(search, photos_in(folder), tmp_path / "whole.jsonl")
    assert records(out) == records(tmp_path / "whole.jsonl")
