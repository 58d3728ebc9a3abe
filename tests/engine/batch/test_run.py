"""Batches: bad photos are rows, an interruption loses nothing, the order is that of the names."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgeo.engine.batch import BatchItem, BatchOptions, BatchProgress, Stopped, photos_in, run_batch
from crossgeo.engine.decoder import Decoder
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.sequences import Around
from crossgeo.errors import InputError, LimitError, LockedError, MismatchError, UsageError
from crossgeo.geodesy import distance_m, to_lat_lon

Record = dict[str, Any]


@pytest.fixture
def run(search: GeoSearch, decoder: Decoder) -> Callable[..., Any]:
    """Return `run_batch` with the shared process that reads, and one worker."""

    def call(*args: Any, **how: Any) -> Any:
        return run_batch(search, *args, **{"decoder": decoder, "workers": 1, **how})

    return call


def records(path: Path) -> list[Record]:
    out = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for record in out:
        record.pop("timings_ms", None)
    return out


def stop_at(count: int) -> Callable[[BatchProgress], None]:
    def stop(at: BatchProgress) -> None:
        if at.done == count:
            raise KeyboardInterrupt

    return stop


def test_every_photo_has_its_row_in_order_of_names_and_a_bad_one_says_why(run: Any, folder: Path, tmp_path: Path) -> None:
    seen: list[BatchProgress] = []
    got: list[tuple[int, Record]] = []
    report = run(photos_in(folder), tmp_path / "out.jsonl", progress=seen.append, each=lambda *row: got.append(row))
    rows = records(tmp_path / "out.jsonl")
    assert [row["photo"] for row in rows] == ["a.png", "b.png", "broken.png", "d.png", "late/c.png"]
    assert rows[2]["error"]["type"] == "InputError"
    assert "cut short" in rows[2]["error"]["message"]
    assert [row.get("status") for row in rows if "error" not in row] == ["located"] * 4
    assert (report.total, report.failed, report.resumed) == (5, 1, 0)
    assert [at.done for at in seen] == [1, 2, 3, 4, 5]
    assert all(at.done == at.located + at.failed and at.total == 5 for at in seen)
    assert (seen[-1], seen[-1].failed) == (replace(report.counts, rate_per_s=seen[-1].rate_per_s), 1)
    assert seen[-1].rate_per_s is not None and seen[-1].eta_s == 0.0
    assert [(number, record["photo"]) for number, record in got] == list(enumerate(row["photo"] for row in rows))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == ["out.jsonl"]


def test_an_interrupted_batch_goes_on_where_it_stopped(
    run: Any, search: GeoSearch, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "broken.png").unlink()
    items, out = photos_in(folder), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(items, out, progress=stop_at(2))
    assert not out.exists()
    asked: list[str] = []
    plain = search.query

    def query(photo: Photo, **options: Any) -> Answer:
        asked.append(photo.name)
        return plain(photo, **options)

    monkeypatch.setattr(search, "query", query)
    got: list[Record] = []
    report = run(items, out, each=lambda _, record: got.append(record))
    assert asked == ["d.png", "late/c.png"]
    assert report.resumed == 2
    assert [record["photo"] for record in got] == ["a.png", "b.png", "d.png", "late/c.png"]
    monkeypatch.setattr(search, "query", plain)
    run(items, tmp_path / "whole.jsonl")
    assert records(out) == records(tmp_path / "whole.jsonl")


def test_a_list_that_grew_meanwhile_asks_only_about_what_is_new(run: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").unlink()
    items, out = photos_in(folder), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(items[1:3], out, progress=stop_at(2))
    report = run(items, out, keep_journal=True)
    assert (report.total, report.resumed) == (4, 2)
    assert [row["photo"] for row in records(out)] == [item.name for item in items]
    again = run([*items, replace(items[0], name="again.png")], out, overwrite=True)
    assert (again.total, again.resumed) == (5, 4)
    assert not (tmp_path / "out.jsonl.partial.jsonl").exists()


def test_a_torn_last_line_of_the_journal_is_done_again(run: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").unlink()
    items, out = photos_in(folder), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(items, out, progress=stop_at(2))
    journal = tmp_path / "out.jsonl.partial.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    last = max(n for n, line in enumerate(lines) if b'"record"' in line)
    journal.write_bytes(b"".join(lines[:last]) + lines[last][:-40])
    assert run(items, out).resumed == 1
    assert len(records(out)) == 4


def test_a_photo_that_changed_or_failed_meanwhile_is_asked_again(run: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(photos_in(folder), out, progress=stop_at(5))
    (folder / "a.png").write_bytes((folder / "d.png").read_bytes())
    (folder / "broken.png").write_bytes((folder / "d.png").read_bytes())
    assert run(photos_in(folder), out).resumed == 3
    rows = {row["photo"]: row for row in records(out)}
    assert rows["a.png"]["places"] == rows["broken.png"]["places"] == rows["d.png"]["places"]


def test_answers_to_another_question_are_not_mixed_in(run: Any, folder: Path, tmp_path: Path) -> None:
    items, out = photos_in(folder), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(items, out, progress=stop_at(1))
    with pytest.raises(MismatchError, match=r"partial\.jsonl"):
        run(items, out, BatchOptions(top=2))
    assert run([replace(item, heading_deg=3.0) for item in items], out).resumed == 0


def test_one_output_is_written_by_one_process_at_a_time(run: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    def another(_: BatchProgress) -> None:
        with pytest.raises(LockedError, match="another process"):
            run(photos_in(folder), out)

    run(photos_in(folder)[:1], out, progress=another)
    assert len(records(out)) == 1


def test_an_output_that_exists_is_kept_unless_told(run: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        run(photos_in(folder), out)
    assert out.read_text() == "mine"
    run(photos_in(folder)[:1], out, overwrite=True)
    assert out.read_text().startswith("photo,")


def test_a_run_that_ends_between_two_outputs_writes_both_again_without_being_told(
    run: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, outs = photos_in(folder)[:2], [tmp_path / name for name in ("a.jsonl", "b.csv")]

    def die(point: str) -> None:
        if point == "b.csv: written":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("crossgeo.disk.FAULT", die)
        with pytest.raises(KeyboardInterrupt):
            run(items, outs)
    assert [out.exists() for out in outs] == [True, False]
    assert run(items, outs, keep_journal=True).resumed == 2
    assert len(records(outs[0])) == 2
    with pytest.raises(UsageError, match="exists already"):
        run(items, outs)


def test_several_outputs_hold_the_same_and_one_name_twice_is_refused(run: Any, folder: Path, tmp_path: Path) -> None:
    outs = [tmp_path / name for name in ("a.jsonl", "b.geojson")]
    assert run(str(folder), [str(out) for out in outs]).out == tuple(outs)
    features = json.loads(outs[1].read_text(encoding="utf-8"))["features"]
    assert [one["properties"]["photo"] for one in features] == [row["photo"] for row in records(outs[0])]
    with pytest.raises(UsageError, match="its own name"):
        run(photos_in(folder), [tmp_path / "c.csv", folder / ".." / "c.csv"])


@pytest.mark.parametrize(
    "wrong",
    [
        BatchOptions(top=0), BatchOptions(heading_deg=400.0), BatchOptions(fov_deg=0.5), BatchOptions(near=(91.0, 0.0)),
        BatchOptions(radius_m=9.0), BatchOptions(radius_m=-1.0, use_exif_position=True), BatchOptions(kind="street"),
        BatchOptions(kind="drone", fov_deg=360.0),
    ],
)  # fmt: skip
def test_options_that_fit_no_photo_are_refused_before_the_first(run: Any, folder: Path, tmp_path: Path, wrong: BatchOptions) -> None:
    with pytest.raises(UsageError):
        run(photos_in(folder), tmp_path / "out.jsonl", wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_what_is_known_of_a_photo_is_asked_and_said_with_it(
    run: Any, search: GeoSearch, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    plain = search.query

    def query(photo: Photo, **options: Any) -> Answer:
        asked.append(options)
        return plain(photo, **options)

    monkeypatch.setattr(search, "query", query)
    path = folder / "a.png"
    items = [
        BatchItem(path, "a", (), 40.0, 70.0, 60.0, 0.0, "drone", id="7", group="g", taken="2024-05-01T10:00:00"),
        BatchItem(path, "far", near=(0.0, 0.0), radius_m=10.0),
        BatchItem(path, "wrong", fault=UsageError("list.csv, line 4: heading_deg is 'x', not a number"), id="9"),
        BatchItem(path, "outside", points=((1000.0, 3.0),)),
        BatchItem(path, "off", tilt_deg=400.0),
    ]
    report = run(items, tmp_path / "out.jsonl", BatchOptions(top=2))
    rows = records(tmp_path / "out.jsonl")
    assert list(rows[0])[:5] == ["photo", "id", "group", "taken", "status"]
    assert (rows[0]["photo"], rows[0]["id"], rows[0]["group"], rows[0]["taken"]) == ("a", "7", "g", "2024-05-01T10:00:00")
    assert rows[1]["status"] == "outside_coverage"
    assert rows[2] == {"photo": "wrong", "id": "9", "error": {"type": "UsageError", "message": str(items[2].fault)}}
    assert ["outside the photo" in rows[3]["error"]["message"], "tilt" in rows[4]["error"]["message"]] == [True, True]
    assert report.failed == 3
    told = {name: asked[0][name] for name in ("top", "heading_deg", "fov_deg", "height_m", "tilt_deg", "kind")}
    assert told == {"top": 2, "heading_deg": 40.0, "fov_deg": 70.0, "height_m": 60.0, "tilt_deg": 0.0, "kind": "drone"}


def test_stopping_keeps_what_is_being_answered_and_asks_nothing_more(
    run: Any, search: GeoSearch, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "broken.png").unlink()
    stop, out = threading.Event(), tmp_path / "out.jsonl"
    asked: list[str] = []
    plain = search.query

    def query(photo: Photo, **options: Any) -> Answer:
        asked.append(photo.name)
        if len(asked) == 2:
            stop.set()
        return plain(photo, **options)

    monkeypatch.setattr(search, "query", query)
    with pytest.raises(Stopped):
        run(photos_in(folder), out, stop=stop)
    assert asked == ["a.png", "b.png"]
    assert not out.exists()
    stop.clear()
    assert run(photos_in(folder), out, stop=stop).resumed == 2
    assert asked == ["a.png", "b.png", "d.png", "late/c.png"]
    assert len(records(out)) == 4


def test_questions_that_a_full_search_refuses_are_asked_again(run: Any, search: GeoSearch, folder: Path, tmp_path: Path) -> None:
    refusals = iter([True, False, True, True])

    def ask(photo: Photo, points: tuple[tuple[float, float], ...], options: BatchOptions) -> Future[Answer]:
        if next(refusals, False):
            raise LimitError("64 questions are waiting")
        done: Future[Answer] = Future()
        done.set_result(search.query(photo, top=options.top))
        return done

    assert run(photos_in(folder), tmp_path / "out.jsonl", ask=ask).counts.located == 4


def test_few_photos_are_held_at_once_however_many_there_are(run: Any, search: GeoSearch, folder: Path, tmp_path: Path) -> None:
    pulled, answered, most = [0], [0], [0]

    def items() -> Any:
        for number in range(40):
            pulled[0] += 1
            most[0] = max(most[0], pulled[0] - answered[0])
            yield BatchItem(folder / "a.png", f"{number:02}.png")

    answer = search.query(folder / "a.png")

    def ask(photo: Photo, points: tuple[tuple[float, float], ...], options: BatchOptions) -> Future[Answer]:
        done: Future[Answer] = Future()
        done.set_result(replace(answer, photo=photo.name))
        return done

    def count(at: BatchProgress) -> None:
        answered[0] = at.done

    report = run(items(), tmp_path / "out.jsonl", ask=ask, progress=count)
    assert report.total == 40
    assert [row["photo"] for row in records(tmp_path / "out.jsonl")] == [f"{number:02}.png" for number in range(40)]
    assert most[0] <= 5


def test_a_photo_alone_with_which_runs_die_is_given_up_and_its_neighbours_are_not(
    run: Any, search: GeoSearch, folder: Path, tmp_path: Path
) -> None:
    items, out = photos_in(folder), tmp_path / "out.jsonl"
    journal = tmp_path / "out.jsonl.partial.jsonl"
    answer = search.query(Photo.from_pixels(np.zeros((40, 60, 3), np.uint8)))
    together: list[int] = []
    open_: list[Future[Answer]] = []
    left = b""

    def ask(photo: Photo, points: Any, options: BatchOptions) -> Future[Answer]:
        nonlocal left
        if photo.name == "b.png":
            together.append(sum(not one.done() for one in open_))
            left = journal.read_bytes()  # what a process that ends here leaves
            raise KeyboardInterrupt
        done: Future[Answer] = Future()
        done.set_running_or_notify_cancel()
        open_.append(done)
        threading.Timer(0.05, done.set_result, (replace(answer, photo=photo.name),)).start()
        return done

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run(items, out, ask=ask)
        journal.write_bytes(left)
    run(items, out, ask=ask)
    assert together[1:] == [0, 0]
    rows = {row["photo"]: row for row in records(out)}
    assert "ended 2 times" in rows["b.png"]["error"]["message"]
    assert [name for name, row in rows.items() if "error" in row] == ["b.png", "broken.png"]


def test_a_folder_without_photos_or_without_itself_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        photos_in(tmp_path / "none")
    with pytest.raises(InputError, match="no photo"):
        photos_in(tmp_path)


class Nothing:
    """Stands in for the object model: finds nothing."""

    reach_m, least_confidence = math.inf, 0.5

    def find_many(self, photo: Photo, clicks_px: Any, spots: Any) -> list[None]:
        return [None] * len(clicks_px)


def test_what_finishes_a_batch_may_ask_again_around_other_places_and_the_journal_stays_as_it_was(
    folder: Path, tmp_path: Path, search: GeoSearch, decoder: Decoder
) -> None:
    (first, *_), far = photos_in(folder), to_lat_lon(search.index.segments[0].crs, 363_070.0, 3_057_530.0)
    items = [first, replace(first, name="clicked.png", points=((10.0, 20.0), (5000.0, 20.0)))]
    asked: list[dict[int, Record]] = []
    pointing, out = GeoSearch(search.index, search.matchers["drone"].describer, Nothing()), tmp_path / "out.jsonl"

    def finish(rows: list[Record], again: Any) -> list[Record]:
        asked.append(again({0: Around(*far, 40.0), 1: Around(*far, 40.0)}))
        return [{**row, "notes": ["finished"]} for row in rows]

    run_batch(pointing, items, out, finish=finish, keep_journal=True, decoder=decoder, workers=1)
    (found,) = asked
    assert list(found) == [1], "photos without points have no objects to look for"
    assert "outside the photo" in found[1]["objects"][1]["error"]["message"]
    place = found[1]["places"][0]
    assert distance_m(place["lat"], place["lon"], *far) <= 40.0
    assert [row["notes"] for row in records(out)] == [["finished"]] * 2
    again = run_batch(pointing, items, out, overwrite=True, keep_journal=True, decoder=decoder, workers=1)
    place = records(out)[1]["places"][0]
    assert again.resumed == 2 and distance_m(place["lat"], place["lon"], *far) > 40.0
