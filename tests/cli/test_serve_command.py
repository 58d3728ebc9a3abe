"""`geo serve` as a process: its answers are those of the command line and of Python, and a stop answers what was asked."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from crossgeo.commands import serve
from crossgeo.commands.serve import Serving
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import UsageError


def without_timings(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "timings_ms"}


def test_command_line_python_and_http_answer_alike_and_sigterm_loses_nothing(city: Any, geo: Any, start_geo: Any, tmp_path: Path) -> None:
    server = start_geo("serve", city.index, "--port", "0", "--jobs", tmp_path / "jobs", "--street-weights", "", *city.weights)
    weights = dict(zip(("weights", "object_weights"), city.weights[1::2], strict=True))
    with GeoSearch.open(city.index, **weights, street_weights=None) as search:
        near = tuple(round(float(part), 6) for part in search.index.lat_lon([4])[0])  # a few tiles: the rest would only take time
        known = {"heading_deg": 12.5, "height_m": 60.0, "fov_deg": 70.0, "near": near, "radius_m": 20.0, "kind": "drone"}
        by_python = search.query(city.photo, point=(160, 120), anyway=True, **known).to_json()
    place = f"{near[0]},{near[1]}"
    camera = ["--heading", "12.5", "--height-m", "60", "--fov", "70", "--kind", "drone", "--near", place, "--radius-m", "20"]
    more = ["--anyway", "--street-weights", "", *city.weights, "--json"]
    result = geo("query", city.photo, "--index", city.index, "--point", "160,120", *camera, *more)
    assert result.exit_code == 0, result.output
    by_command = json.loads(result.stdout)
    address = ""
    for line in server.stderr:
        if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
            address = found[0]
            break
    assert address, "it says where it listens"
    asked = {"point": "160,120", "anyway": "true", **{name: str(value) for name, value in known.items()}, "near": place}
    file = (city.photo.name, city.photo.read_bytes())
    page = httpx.get(address)
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")

    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.post(address + "v1/locate", files={"photo": file}, data=asked, timeout=240))
    )
    asking.start()
    until = time.monotonic() + 120
    while 'geo_questions_busy{index="city"} 1.0' not in httpx.get(address + "metrics").text and not answers and time.monotonic() < until:
        time.sleep(0.005)
    server.send_signal(signal.SIGTERM)
    asking.join(240)
    (by_http,) = answers
    assert by_http.status_code == 200, by_http.text
    assert list(by_http.json()) == list(by_command) == list(by_python)
    assert without_timings(by_http.json()) == without_timings(by_command) == json.loads(json.dumps(without_timings(by_python)))
    assert server.wait(120) == 0
    assert "stopped" in server.stderr.read()


def test_passes_are_merged_on_a_gpu_and_on_a_processor_where_told() -> None:
    assert Serving().merging("cpu") is None and Serving(max_batch=0).merging("cuda:1") is None
    for told, device, rows in ((Serving(), "cuda:1", 64), (Serving(max_batch=8), "cpu", 8)):
        merging = told.merging(device)
        assert merging is not None
        with merging:
            assert merging.max_batch == rows


def test_proxies_are_named_by_address_and_not_everybody_is_one() -> None:
    assert Serving(trust_proxy=["127.0.0.1", "10.1.2.3/16", "::1"]).settings().proxies == ("127.0.0.1", "10.1.0.0/16", "::1")
    assert Serving().settings().proxies == ()
    for wrong in ("*", "proxy.example.org", "0.0.0.0/0", "::/0"):
        with pytest.raises(UsageError, match="--trust-proxy"):
            Serving(trust_proxy=[wrong]).settings()


def test_what_is_wrong_is_said_before_anything_is_loaded(refused: Any, tmp_path: Path, city: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEO_KEYS", raising=False)
    assert "no-index.geo" in refused(3, "serve", tmp_path / "no-index.geo", "--port", "0", "--jobs", tmp_path / "jobs")
    assert "rename" in refused(2, "serve", city.index, city.index, "--jobs", tmp_path / "jobs")
    assert "--keys" in refused(3, "serve", city.index, "--keys", tmp_path / "none.txt")
    (tmp_path / "keys.txt").write_text("read short\n")
    assert "line 1" in refused(2, "serve", city.index, "--keys", tmp_path / "keys.txt")
    assert "--host" in refused(3, "serve", city.index, "--host", "no.such.host.invalid")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "--port" in refused(3, "serve", city.index, "--port", str(taken.getsockname()[1]))


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name in ("fastapi", "python_multipart") else object())
    with pytest.raises(UsageError, match=r"fastapi, python-multipart.*pip install 'crossgeo\[serve\]'"):
        serve.check_installed()
