"""The service over an index whose rows lie with other processes: what it says of them, and an answer without some of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gated_cluster import GatedActor, GatedCluster

from crossgeo.engine.search import GeoSearch
from crossgeo.engine.serving.rows import OnShelf, SpreadRows
from crossgeo.engine.serving.shelf import ShardOptions, Shelf
from crossgeo.indexer.index import GeoIndex
from crossgeo.web.served import Indexes, Opening
from crossgeo.web.settings import Settings

ASKED = {"heading_deg": "0", "height_m": "50", "fov_deg": "62"}


@pytest.fixture
def cluster() -> Iterator[GatedCluster]:
    with GatedCluster() as opened:
        yield opened


@pytest.fixture
def spread(cluster: GatedCluster, index_path: Path, tmp_path: Path, make_describer: Any) -> Iterator[Indexes]:
    options = ShardOptions(tiles=100, deadline_s=0.5, folder=tmp_path / "shelf")
    with Shelf(cluster, options) as shelf:
        rows = OnShelf(shelf)
        how = Opening(lambda path: GeoSearch(GeoIndex.open(path, rows), make_describer()), workers=2)
        with Indexes({"index": index_path}, how) as opened:
            yield opened


def located(service: Any, photo: bytes, **more: str) -> Any:
    return service.post("/v1/locate", files={"photo": ("a.png", photo)}, data={**ASKED, **more})


def test_an_answer_says_which_areas_it_misses_and_the_service_how_many(
    spread: Indexes, cluster: GatedCluster, tmp_path: Path, serving: Any, photo_file: bytes
) -> None:
    with serving(spread, Settings(tmp_path / "jobs")) as service:
        whole = located(service, photo_file).json()
        ready = service.get("/readyz").json()["indexes"]["index"]["shards"]
        assert ready == {"shards": 5, "shards_alive": 5, "replicas": 10, "replicas_alive": 10}
        assert (whole["status"], "partial" in whole) == ("located", False)
        names = list(dict.fromkeys(actor.context.name for actor in cluster.actors))
        for actor in cluster.of(names[0]):
            actor.kill()
        part = located(service, photo_file)
        assert part.status_code == 200
        assert part.json()["status"] == "low_confidence"
        ((west, south, east, north),) = part.json()["partial"]
        assert west < east and south < north
        lines = service.get("/metrics").text.splitlines()
        assert 'geo_shards{index="index"} 5.0' in lines
        assert 'geo_replicas{index="index"} 10.0' in lines
        assert 'geo_shards_partial{index="index"} 1.0' in lines
        schema = service.get("/openapi.json").json()["components"]["schemas"]["Answer"]["properties"]["partial"]
        assert schema["items"]["minItems"] == schema["items"]["maxItems"] == len(part.json()["partial"][0])
        assert "not looked at" in service.post("/v1/explain", files={"photo": ("a.png", photo_file)}, data=ASKED).text
        ends = time.monotonic() + 30
        while service.get("/readyz").json()["indexes"]["index"]["shards"]["shards_alive"] != 4:
            assert time.monotonic() < ends
        for actor in cluster.actors:
            actor.kill()
        nothing = located(service, photo_file)
        assert (nothing.status_code, nothing.json()["status"], len(nothing.json()["partial"])) == (200, "outside_coverage", 5)
        while service.get("/readyz").status_code != 503:
            assert time.monotonic() < ends
        assert service.get("/v1/coverage").status_code == 200
        for actor in cluster.actors:
            actor.come_back()
        while service.get("/readyz").status_code != 200 or service.get("/readyz").json()["indexes"]["index"]["shards"]["shards_alive"] < 5:
            assert time.monotonic() < ends
        again = located(service, photo_file).json()
        assert {**again, "timings_ms": None} == {**whole, "timings_ms": None}


def test_a_service_whose_replicas_are_all_late_is_ready(spread: Indexes, tmp_path: Path, serving: Any) -> None:
    (served,) = spread
    with serving(spread, Settings(tmp_path / "jobs")) as service, served.live.current() as search:
        rows = search.index.rows
        assert isinstance(rows, SpreadRows)
        for actor in [replica.actor for held in rows._held for replica in held.replicas]:
            assert isinstance(actor, GatedActor)
            actor.stop()  # nobody takes back what is said next
        while rows.metrics()["replicas_alive"]:  # one may have been about to answer
            for replica in [replica for held in rows._held for replica in held.replicas]:
                replica.late()
        ready = service.get("/readyz")
        assert (ready.status_code, ready.json()["indexes"]["index"]["shards"]["shards_alive"]) == (200, 0)


def test_deaths_under_load_cost_no_answer(spread: Indexes, cluster: GatedCluster, tmp_path: Path, serving: Any, photo_file: bytes) -> None:
    seen: list[Any] = []
    stop = threading.Event()
    with serving(spread, Settings(tmp_path / "jobs")) as service:
        whole = located(service, photo_file).json()

        def ask() -> None:
            while not stop.is_set():
                seen.append(located(service, photo_file))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(8):
            one, two = cluster.of(cluster.actors[number % 5].context.name)
            one.kill()
            if number % 3 == 0:
                two.stop()
            time.sleep(0.15)
            one.come_back()
            two.go_on()
        stop.set()
        for thread in threads:
            thread.join()
    assert {answer.status_code for answer in seen} == {200}
    for answer in (answer.json() for answer in seen):
        if "partial" in answer:
            assert answer["status"] in ("low_confidence", "outside_coverage")
        else:
            assert {**answer, "timings_ms": None} == {**whole, "timings_ms": None}
    assert len(seen) > 4
