"""A newer generation is taken up under load without a question lost; a stop answers what was asked."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crossgeo.engine.search import GeoSearch
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.web.served import Indexes, Opening
from crossgeo.web.settings import Limits, Settings

ASKED = {"heading_deg": "0", "height_m": "50", "fov_deg": "62"}


def test_generations_change_under_load_and_no_question_is_lost(
    index_path: Path, tmp_path: Path, open_search: Callable[[Path], GeoSearch], serving: Any, photo_file: bytes, ground: Any,
    write_ortho: Any, make_describer: Any,
) -> None:  # fmt: skip
    path, describer = tmp_path / "live.geo", make_describer()
    shutil.copytree(index_path, path)
    stop = threading.Event()
    seen: list[tuple[int, int]] = []
    how = Opening(open_search, workers=2, every_s=0.05)
    with Indexes({"live": path}, how) as indexes, serving(indexes, Settings(tmp_path / "jobs")) as service:
        before = service.get("/v1/indexes").json()["indexes"][0]

        def ask() -> None:
            while not stop.is_set():
                answer = service.post("/v1/locate", files={"photo": ("a.png", photo_file)}, data=ASKED)
                seen.append((answer.status_code, answer.json()["index"]["generation"]))
                assert service.get("/v1/coverage").status_code == 200

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in (2, 3):
            write_ortho(tmp_path / "ortho.tif", np.ascontiguousarray(ground.rgb[: 600 - 20 * number]))
            options = BuildOptions(gsd_m=0.5, tile_px=96, overwrite=True)
            build_index([tmp_path / "ortho.tif"], path, describer.tiles, describer.identity, options)
            until = time.monotonic() + 60
            while (200, number) not in seen and time.monotonic() < until:
                time.sleep(0.02)
        stop.set()
        for thread in threads:
            thread.join()
        after = service.get("/v1/indexes").json()["indexes"][0]
        assert service.get("/readyz").json()["indexes"] == {"live": {"generation": 3, "trouble": None}}
        (served,) = indexes
        until = time.monotonic() + 10
        while served.live.stats().draining and time.monotonic() < until:
            time.sleep(0.02)
        assert served.live.stats().draining == 0, "older generations are closed"
    assert {status for status, _ in seen} == {200}
    assert {1, 2, 3} == {generation for _, generation in seen}
    assert before["hash"] != after["hash"] and after["generation"] == 3


def test_a_stop_answers_what_was_asked_and_takes_no_more(indexes: Indexes, tmp_path: Path, serving: Any, photo_file: bytes) -> None:
    (served,) = indexes
    free, answers = threading.Event(), []
    with serving(indexes, Settings(tmp_path / "jobs")) as service:
        holding = served.answering.run(lambda search: free.wait(60))
        job_id = service.post("/v1/jobs", files={"photo": ("a.png", photo_file)}, data=ASKED).json()["id"]
        threads = [
            threading.Thread(target=lambda: answers.append(service.post("/v1/locate", files={"photo": ("a.png", photo_file)}, data=ASKED))),
            threading.Thread(target=lambda: answers.append(service.get(f"/v1/jobs/{job_id}/events"))),
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 30
        while served.answering.stats().waiting < 2 and time.monotonic() < until:
            time.sleep(0.01)
        service.stop()
        threads[1].join(30)
        assert not threads[1].is_alive(), "streams of events end at once"
        free.set()
        assert holding.result(30)
        threads[0].join(60)
    by_address = {answer.url.path.rsplit("/", 1)[1]: answer for answer in answers}
    assert by_address["locate"].status_code == 200 and by_address["locate"].json()["places"]
    assert by_address["events"].status_code == 200 and "event: end" not in by_address["events"].text


def test_a_stop_does_not_wait_for_those_who_never_finish(indexes: Indexes, tmp_path: Path, serving: Any) -> None:
    limits = replace(Limits(), drain_s=1.0)
    began = time.monotonic()
    with serving(indexes, Settings(tmp_path / "jobs", limits)) as service:
        idle, trickling = service.connect(), service.connect()
        trickling.sendall(
            b"POST /v1/locate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 9\r\n\r\n"
        )
        service.get("/livez")
    idle.close()
    trickling.close()
    assert time.monotonic() - began < 20
