"""Jobs: many photos, their events and results; kept on disk, cancelled, and gone on with after a kill."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from busy import held
from PIL import Image
from starlette.testclient import TestClient

from crossgeo.engine.batch import BatchItem, BatchOptions
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import FoundObject
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.sequences import SequenceOptions
from crossgeo.engine.sequences.moved import FOUND_AGAIN
from crossgeo.engine.sequences.smooth import ASKED_ELSEWHERE
from crossgeo.errors import LockedError
from crossgeo.geodesy import distance_m, to_lat_lon
from crossgeo.web.app import make_app
from crossgeo.web.job import Asked, Job
from crossgeo.web.jobs import now
from crossgeo.web.served import Indexes, Opening
from crossgeo.web.settings import Settings

CAMERA = {"heading_deg": "0", "height_m": "50", "fov_deg": "62"}


def start(client: TestClient, photos: dict[str, bytes], **data: str) -> Any:
    return client.post("/v1/jobs", files=[("photo", (name, file)) for name, file in photos.items()], data={**CAMERA, **data})


def events_of(client: TestClient, job_id: str, after: int | None = None) -> list[tuple[str, Any, int]]:
    """Read a job's events to their end: kind, data, id."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    out = []
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for block in "".join(answer.iter_text()).split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
            if "event" in fields:
                out.append((fields["event"], json.loads(fields["data"]), int(fields["id"])))
    return out


def finished(client: TestClient, job_id: str) -> Any:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        job = client.get(f"/v1/jobs/{job_id}").json()
        if job["state"] in ("done", "cancelled", "failed"):
            return job
        time.sleep(0.02)
    raise AssertionError("the job does not finish")


def test_a_job_answers_as_python_does_with_errors_as_records(
    client: TestClient, photo_file: bytes, index_path: Path, open_search: Callable[[Path], GeoSearch], tmp_path: Path
) -> None:
    items = json.dumps([{"photo": "b/two.png", "heading_deg": 5.0, "id": "id-2", "group": "drive"}])
    made = start(client, {"one.png": photo_file, "b/two.png": photo_file, "bad.jpg": b"rubbish"}, items=items)
    assert made.status_code == 202 and made.headers["location"] == f"/v1/jobs/{made.json()['id']}"
    job_id = made.json()["id"]
    events = events_of(client, job_id)
    records = {data["number"]: data["record"] for kind, data, _ in events if kind == "record"}
    assert events[-1][:2] == ("end", {"state": "done", "why": None})
    progress = [data for kind, data, _ in events if kind == "progress"][-1]
    assert (progress["done"], progress["total"], progress["failed"]) == (3, 3, 1)
    with open_search(index_path) as search:
        photo = Photo.read(photo_file, name="one.png")
        true = [search.query(photo, heading_deg=heading, height_m=50.0, fov_deg=62.0).to_json() for heading in (0.0, 5.0)]
    true[1].update(photo="b/two.png", id="id-2", group="drive")
    for number in (0, 1):
        said, expected = dict(records[number]), dict(true[number])
        said.pop("timings_ms"), expected.pop("timings_ms")
        assert said == expected
    assert records[2]["error"]["type"] == "InputError"
    assert events_of(client, job_id, after=2)[0][2] == 3, "a client that comes back is told what it does not have"
    lines = [json.loads(line) for line in client.get(f"/v1/jobs/{job_id}/results", params={"format": "jsonl"}).text.splitlines()]
    assert lines == [records[number] for number in range(3)]
    table = list(csv.DictReader(io.StringIO(client.get(f"/v1/jobs/{job_id}/results", params={"format": "csv"}).text)))
    assert [row["photo"] for row in table] == ["one.png", "b/two.png", "bad.jpg"]
    told = client.get(f"/v1/jobs/{job_id}").json()
    assert told["state"] == "done" and told["done"] == told["total"] == 3 and told["failed"] == 1
    assert not (tmp_path / "jobs" / job_id / "photos").exists(), "the photos are not kept"
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert client.get(f"/v1/jobs/{job_id}").json()["code"] == "not-found"
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["LOCK"]


@pytest.mark.parametrize("form", ["geojson", "kml", "gpx", "gpkg", "parquet"])
def test_results_come_in_every_format(client: TestClient, photo_file: bytes, form: str) -> None:
    job_id = start(client, {"one.png": photo_file}).json()["id"]
    finished(client, job_id)
    answer = client.get(f"/v1/jobs/{job_id}/results", params={"format": form})
    assert answer.status_code == 200 and len(answer.content) > 100
    assert f'filename="job-{job_id[:8]}.{form}"' in answer.headers["content-disposition"]
    assert client.get(f"/v1/jobs/{job_id}/results", params={"format": "shp"}).json()["code"] == "validation"


@pytest.fixture
def drive(ground: Any) -> dict[str, bytes]:
    """Photos of one flight, 20 m apart, and one that shows another place in between."""
    at = {"a/0.png": (90.0, 60.0), "a/1.png": (110.0, 60.0), "a/2.png": (130.0, 60.0), "a/3.png": (200.0, 180.0), "a/4.png": (150.0, 60.0)}
    out = {}
    for name, (east, north) in at.items():
        file = io.BytesIO()
        Image.fromarray(ground.photo(363_000.0 + east, 3_057_300.0 + north, 0.0, 60.0).pixels).save(file, "PNG")
        out[name] = file.getvalue()
    return out


def test_photos_of_a_drive_are_looked_at_together_and_a_kill_in_between_changes_nothing(
    indexes: Indexes, tmp_path: Path, drive: dict[str, bytes]
) -> None:
    jobs, told = tmp_path / "jobs", {"sequence": "true", "max_step_m": "40"}
    with TestClient(make_app(indexes, Settings(jobs)), base_url="http://127.0.0.1") as client:
        job_id = start(client, drive, **told).json()["id"]
        events = events_of(client, job_id)
        records = [(data["number"], data["record"]) for kind, data, _ in events if kind == "record"]
        assert len(records) == 10 and not any("sequence" in record for _, record in records[:5])
        after = dict(records[5:])
        assert [after[number]["sequence"]["rank"] for number in range(5)] == [1, 1, 1, None, 1]
        assert {after[number]["sequence"]["group"] for number in range(5)} == {"a"}
        assert after[3]["status"] == "low_confidence" and records[3][1]["status"] == "located", "it flies past no such place"
        progress = [data for kind, data, _ in events if kind == "progress"][-1]
        assert (progress["done"], progress["located"], progress["low_confidence"]) == (5, 4, 1)
        assert events_of(client, job_id, after=9)[0][2] == 10
        lines = client.get(f"/v1/jobs/{job_id}/results", params={"format": "jsonl"}).text
        assert [json.loads(line) for line in lines.splitlines()] == [after[number] for number in range(5)]
    whole = (jobs / job_id / "answers.jsonl").read_bytes().splitlines(keepends=True)
    data = json.loads((jobs / job_id / "job.json").read_text())
    for kept in (5, 7):  # killed before the drive was looked at, and while that was written
        (jobs / job_id / "job.json").write_text(json.dumps({**data, "state": "running", "finished": None}))
        (jobs / job_id / "answers.jsonl").write_bytes(b"".join(whole[:kept]) + whole[kept][:20])
        (jobs / job_id / "results.jsonl").unlink()
        with TestClient(make_app(indexes, Settings(jobs)), base_url="http://127.0.0.1") as client:
            assert finished(client, job_id)["low_confidence"] == 1
            assert client.get(f"/v1/jobs/{job_id}/results", params={"format": "jsonl"}).text == lines
        assert (jobs / job_id / "answers.jsonl").read_bytes().splitlines(keepends=True) == whole
    assert start(client, {"a.png": b""}, max_speed_m_s="0").json()["code"] == "validation"


def test_a_photo_that_its_drive_moves_has_its_object_from_there(
    index_path: Path, open_search: Callable[[Path], GeoSearch], tmp_path: Path, drive: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    square = {"type": "Polygon", "coordinates": [[[85.0, 27.0], [85.1, 27.0], [85.1, 27.1], [85.0, 27.1], [85.0, 27.0]]]}

    class Here:
        """Stands in for the object model: the object is where the photo is."""

        reach_m, least_confidence = math.inf, 0.5

        def find_many(self, photo: Photo, clicks_px: Any, spots: Any) -> list[FoundObject | None]:
            places = [to_lat_lon(spot.segment.crs, spot.x, spot.y) for spot in spots]
            return [FoundObject(lat, lon, (0.0, 0.0, 1.0, 1.0), square, 1.0, 1.0, 0.9) for lat, lon in places]

    def second_first(records: list[Any], options: SequenceOptions) -> list[Any]:
        """What a drive does that leads past the second place of its photo."""
        new = json.loads(json.dumps(records))
        first, second, *others = new[1]["places"]
        new[1] |= {"places": [second, first, *others], "object": None, "status": "ambiguous", "notes": [ASKED_ELSEWHERE]}
        told = {"group": "a", "rank": 1, "probability": 1.0, "photos": 2, "changed": False}
        return [{**record, "sequence": {**told, "rank": 2 if record is new[1] else 1}} for record in new]

    def opened(path: Path) -> GeoSearch:
        plain = open_search(path)
        return GeoSearch(plain.index, plain.matchers["drone"].describer, Here())

    monkeypatch.setattr("crossgeo.web.jobs.smooth", second_first)
    items = json.dumps([{"photo": name, "points": [[20.0, 20.0]]} for name in ("a/0.png", "a/1.png")])
    with (
        Indexes({"index": index_path}, Opening(opened, workers=1)) as indexes,
        TestClient(make_app(indexes, Settings(tmp_path / "jobs")), base_url="http://127.0.0.1") as client,
    ):
        job_id = start(client, dict(list(drive.items())[:2]), items=items, sequence="true").json()["id"]
        finished(client, job_id)
        _, moved = [json.loads(line) for line in client.get(f"/v1/jobs/{job_id}/results?format=jsonl").text.splitlines()]
    place, thing = moved["places"][0], moved["object"]
    assert distance_m(place["lat"], place["lon"], moved["places"][1]["lat"], moved["places"][1]["lon"]) > 20.0
    assert distance_m(place["lat"], place["lon"], thing["lat"], thing["lon"]) < 15.0
    assert moved["notes"] == [FOUND_AGAIN]


@pytest.mark.parametrize("form", ["geojson", "csv", "kml", "gpx", "gpkg", "parquet", "jsonl"])
def test_objects_of_a_job_come_once_and_in_every_format(indexes: Indexes, tmp_path: Path, form: str) -> None:
    ring = [[85.0, 27.0], [85.0001, 27.0], [85.0001, 27.0001], [85.0, 27.0001], [85.0, 27.0]]
    thing = {"polygon": {"type": "Polygon", "coordinates": [ring]}, "confidence": 0.5, "bearing_deg": None}
    place = {"lat": 27.0, "lon": 85.0, "radius_m": 2.5, "heading_deg": 0.0, "score": 0.6}
    folder, names = tmp_path / "jobs" / ("0" * 32), ("a.jpg", "b.jpg")
    folder.mkdir(parents=True)
    items = tuple(BatchItem(folder / "photos" / f"{number:06}", name) for number, name in enumerate(names))
    job = Job.new(folder, Asked("0" * 32, "index", now(), BatchOptions(), items))
    for number, name in enumerate(names):
        job.add(number, {"photo": name, "status": "located", "places": [place], "object": thing, "notes": []})
    job.state, job.finished = "done", now()
    job.save()
    with TestClient(make_app(indexes, Settings(tmp_path / "jobs")), base_url="http://127.0.0.1") as client:
        answer = client.get(f"/v1/jobs/{'0' * 32}/objects", params={"format": form})
    assert answer.status_code == 200, answer.text
    assert f'filename="job-00000000-objects.{form}"' in answer.headers["content-disposition"]
    if form == "geojson":
        assert [row["properties"]["photos"] for row in answer.json()["features"]] == [["a.jpg", "b.jpg"]]
    else:
        assert b"object-1" in answer.content and b"object-2" not in answer.content


def test_a_cancelled_job_keeps_what_it_has(client: TestClient, indexes: Indexes, photo_file: bytes) -> None:
    with held(indexes):
        job_id = start(client, {f"{n}.png": photo_file for n in range(4)}).json()["id"]
        assert client.get(f"/v1/jobs/{job_id}/results").json()["code"] == "conflict"
        answer = client.delete(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200 and answer.json()["state"] == "cancelled"
    assert events_of(client, job_id)[-1][1]["state"] == "cancelled"
    assert client.get(f"/v1/jobs/{job_id}/results", params={"format": "jsonl"}).status_code == 200
    following = start(client, {"one.png": photo_file}).json()["id"]
    assert finished(client, following)["state"] == "done"
    assert [job["id"] for job in client.get("/v1/jobs").json()["jobs"]][-1] == job_id or len(client.get("/v1/jobs").json()["jobs"]) == 2


def test_a_job_goes_on_after_the_service_was_killed(indexes: Indexes, tmp_path: Path, photo_file: bytes) -> None:
    jobs = tmp_path / "jobs"
    with TestClient(make_app(indexes, Settings(jobs)), base_url="http://127.0.0.1") as client:
        whole = start(client, {f"{n}.png": photo_file for n in range(4)}).json()["id"]
        finished(client, whole)
        with held(indexes):
            job_id = start(client, {f"{n}.png": photo_file for n in range(4)}).json()["id"]
            photos = list((jobs / job_id / "photos").iterdir())
            assert len(photos) == 4
    # As a kill leaves it: running, two answers, and a third that was cut short.
    lines = (jobs / whole / "answers.jsonl").read_bytes().splitlines(keepends=True)
    assert Job.load(jobs / job_id).state == "running"
    (jobs / job_id / "answers.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:50])
    (jobs / "new-0123").mkdir()
    with TestClient(make_app(indexes, Settings(jobs)), base_url="http://127.0.0.1") as client:
        told = finished(client, job_id)
        assert told["state"] == "done" and told["resumed"] == 2 and told["done"] == 4

        def answers(of: str) -> list[Any]:
            text = client.get(f"/v1/jobs/{of}/results", params={"format": "jsonl"}).text
            return [{key: value for key, value in json.loads(line).items() if key != "timings_ms"} for line in text.splitlines()]

        assert answers(job_id) == answers(whole)
        with pytest.raises(LockedError, match="--jobs"):
            make_app(indexes, Settings(jobs))
    assert not (jobs / "new-0123").exists()


def test_what_is_wrong_with_a_job_is_told_and_leaves_nothing(client: TestClient, photo_file: bytes, tmp_path: Path) -> None:
    def code(photos: dict[str, bytes], **data: str) -> tuple[str, str]:
        told = start(client, photos, **data).json()
        return told["code"], told["detail"]

    one = {"a.png": photo_file}
    assert code(one, point="1,2")[0] == "validation"
    assert code({})[0] in ("validation", "media-type")
    for items, says in (("[", "JSON"), ("{}", "list"), ('[{"photo": "b.png"}]', "b.png"), ('[{"photo": "a.png", "x": 1}]', "x"),
                        ('[{"photo": "a.png"}, {"photo": "a.png"}]', "twice")):  # fmt: skip
        said = code(one, items=items)
        assert said[0] == "validation" and says in said[1], said
    assert code(one, index="other")[0] == "not-found"
    assert code(one, radius_m="5")[0] == "usage"
    two = client.post("/v1/jobs", files=[("photo", ("a.png", photo_file))] * 2, data=CAMERA)
    assert two.json()["code"] == "validation" and "one name" in two.json()["detail"]
    assert client.get("/v1/jobs/zz").json()["code"] == "validation"
    assert client.get("/v1/jobs/" + "0" * 32 + "/events").json()["code"] == "not-found"
    assert client.get("/v1/jobs").json() == {"jobs": []}
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["LOCK"]


def test_a_full_disk_is_said_and_leaves_nothing(client: TestClient, photo_file: bytes, room_for: Any, tmp_path: Path) -> None:
    with room_for(1000):
        refused = start(client, {"a.png": photo_file})
    assert refused.status_code == 507 and refused.json()["code"] == "storage" and "retry-after" in refused.headers
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["LOCK"]


def test_old_jobs_are_forgotten(indexes: Indexes, tmp_path: Path, photo_file: bytes) -> None:
    jobs = tmp_path / "jobs"
    with TestClient(make_app(indexes, Settings(jobs)), base_url="http://127.0.0.1") as client:
        job_id = start(client, {"a.png": photo_file}).json()["id"]
        finished(client, job_id)
    data = json.loads((jobs / job_id / "job.json").read_text())
    (jobs / job_id / "job.json").write_text(json.dumps({**data, "finished": "2020-01-01T00:00:00+00:00"}))
    with TestClient(make_app(indexes, Settings(jobs)), base_url="http://127.0.0.1") as client:
        until = time.monotonic() + 30
        while (jobs / job_id).exists() and time.monotonic() < until:
            time.sleep(0.02)
        assert client.get("/v1/jobs").json() == {"jobs": []}
