"""What stands around every request: ids, keys, hosts, origins, rates, headers, metrics, health."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from crossgeo.engine.feature_cache import CELLS, FeatureCache
from crossgeo.engine.runtime.batched import Batched
from crossgeo.engine.runtime.merged import Merging
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import UsageError
from crossgeo.indexer.index import GeoIndex
from crossgeo.web.app import make_app
from crossgeo.web.keys import Keys, Role, needed
from crossgeo.web.problems import Problem
from crossgeo.web.rates import Rates
from crossgeo.web.served import Indexes, Opening
from crossgeo.web.settings import Limits, Settings

READ, ADMIN = "r" * 24, "a" * 24


@pytest.fixture
def client_with(indexes: Indexes, tmp_path: Path) -> Callable[..., Any]:
    @contextmanager
    def made(keys: Keys | None = None, limits: Limits | None = None) -> Iterator[TestClient]:
        settings = Settings(tmp_path / "jobs", limits or Limits())
        with TestClient(make_app(indexes, settings, keys), base_url="http://127.0.0.1") as client:
            yield client

    return made


def test_every_answer_has_an_id_and_says_how_safe_it_is(client: TestClient) -> None:
    for path in ("/livez", "/v1/indexes", "/nothing", "/v1/tiles/1/9/9.jpg", "/openapi.json"):
        answer = client.get(path)
        assert len(answer.headers["x-request-id"]) == 32
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "app;dur=" in answer.headers["server-timing"]
        assert "access-control-allow-origin" not in answer.headers
    assert client.get("/nothing").json()["request_id"] != client.get("/nothing").json()["request_id"]
    own = client.get("/nothing", headers={"X-Request-Id": "drive-7.jpg"})
    assert own.headers["x-request-id"] == own.json()["request_id"] == "drive-7.jpg"
    assert len(client.get("/livez", headers={"X-Request-Id": "a b\tc"}).headers["x-request-id"]) == 32


def test_unknown_addresses_and_methods_are_problems(client: TestClient) -> None:
    gone, wrong = client.get("/v1/nothing"), client.put("/v1/indexes")
    assert gone.headers["content-type"] == wrong.headers["content-type"] == "application/problem+json"
    assert (gone.status_code, gone.json()["code"]) == (404, "not-found")
    assert (wrong.status_code, wrong.json()["code"], wrong.headers["allow"]) == (405, "method-not-allowed", "GET")


def test_other_hosts_and_other_sites_may_not_ask(client: TestClient, photo_file: bytes) -> None:
    rebound = client.get("/v1/indexes", headers={"Host": "evil.example"})
    assert (rebound.status_code, rebound.json()["code"]) == (421, "misdirected")
    assert client.get("/livez", headers={"Host": "evil.example"}).status_code == 200
    for host in ("localhost:8080", "127.0.0.1", "[::1]:80", "LOCALHOST"):
        assert client.get("/v1/indexes", headers={"Host": host}).status_code == 200
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        asked = client.post("/v1/locate", files={"photo": ("a.png", photo_file)}, headers=headers)
        assert (asked.status_code, asked.json()["code"]) == (403, "cross-origin")
    assert client.post("/v1/locate", files={"x": b""}, headers={"Origin": "http://127.0.0.1"}).json()["code"] == "validation"


def test_keys_say_who_may_do_what(client_with: Any) -> None:
    keys = Keys.parse(f"# ours\nread {READ}\nadmin {ADMIN}  # the operator's\n", "keys.txt")
    with client_with(keys) as client:
        said = {"": "unauthorized", "Bearer wrong": "unauthorized", READ: "unauthorized", f"Basic {READ}": "unauthorized"}
        for header, code in said.items():
            refused = client.get("/v1/indexes", headers={"Authorization": header})
            assert (refused.status_code, refused.json()["code"]) == (401, code)
            assert refused.headers["www-authenticate"].startswith("Bearer")
        assert client.get("/v1/indexes", params={"key": READ}).status_code == 401
        read, admin = {"Authorization": f"Bearer {READ}"}, {"Authorization": f"bearer {ADMIN}"}
        assert client.get("/v1/indexes", headers=read).status_code == 200
        assert client.get("/metrics").status_code == 401 and client.get("/metrics", headers=read).status_code == 200
        assert client.post("/v1/jobs", headers=read).json()["code"] == "forbidden"
        assert client.delete("/v1/jobs/" + "0" * 32, headers=read).json()["code"] == "forbidden"
        assert client.post("/v1/jobs", headers=admin).json()["code"] == "media-type"
        assert client.get("/livez").status_code == client.get("/readyz").status_code == client.get("/openapi.json").status_code == 200


def test_keys_may_be_hashes_and_bad_lines_are_named_without_the_key() -> None:
    import hashlib

    hashed = Keys.parse(f"read sha256:{hashlib.sha256(READ.encode()).hexdigest()}", "$GEO_KEYS")
    found = hashed.find(f"Bearer {READ}")
    assert found is not None and found.role is Role.READ and READ not in repr(found)
    for text, says in (("read short", "line 1"), (f"root {READ}", "line 1"), (f"\nread {READ} x", "line 2"), ("# none\n", "no key")):
        with pytest.raises(UsageError, match=says) as caught:
            Keys.parse(text, "keys.txt")
        assert READ not in str(caught.value) and "short" not in str(caught.value).replace("shorter", "")


def test_the_page_is_open_and_all_else_wants_a_key() -> None:
    assert needed("GET", "/") == needed("GET", "/static/map.js") == needed("GET", "/livez") == Role.NOBODY
    assert needed("POST", "/v1/locate") == needed("GET", "/v1/jobs/1") == needed("GET", "/metrics") == Role.READ
    assert needed("POST", "/v1/jobs") == needed("DELETE", "/v1/jobs/1") == Role.ADMIN


def test_who_asks_too_often_is_told_when_to_ask_again(client_with: Any) -> None:
    with client_with(limits=replace(Limits(), rate_per_minute=3.0)) as client:
        codes = [client.post("/v1/locate").status_code for _ in range(4)]
        assert codes == [415, 415, 415, 429]
        refused = client.post("/v1/locate")
        assert refused.json()["code"] == "too-many-requests" and 1 <= int(refused.headers["retry-after"]) <= 21
        assert client.get("/livez").status_code == 200


def test_a_bucket_fills_again_and_each_client_has_its_own() -> None:
    now = [0.0]
    rates = Rates(60.0, 2, clock=lambda: now[0])
    for _ in range(60):
        rates.take("a", 1.0)
    with pytest.raises(Problem) as caught:
        rates.take("a", 1.0)
    assert caught.value.retry_after_s == pytest.approx(1.0)
    rates.take("b", 1.0)
    now[0] = 1.5
    rates.take("a", 1.0)
    with pytest.raises(Problem):
        rates.take("a", 1.0)
    with rates.asking("a"), rates.asking("a"), rates.asking("b"), pytest.raises(Problem, match="limit"), rates.asking("a"):
        pass
    with rates.asking("a"):
        pass
    for client in range(20_000):
        rates.take(str(client), 1.0)
    assert len(rates._left) <= 10_000


def test_metrics_count_what_was_asked(client: TestClient, photo_file: bytes) -> None:
    asked = {"heading_deg": "0", "height_m": "50", "fov_deg": "62"}
    assert client.post("/v1/locate", files={"photo": ("a.png", photo_file)}, data=asked).status_code == 200
    client.get("/v1/tiles/3/0/0.jpg")
    client.get("/etc/passwd")
    text = client.get("/metrics").text
    assert 'geo_http_requests_total{method="POST",route="/v1/locate",status="200"} 1.0' in text
    assert 'route="/v1/tiles/{z}/{x}/{y}.{form}",status="204"' in text and 'route="none",status="404"' in text
    assert 'geo_photos_total{index="index",status="located"} 1.0' in text
    assert 'geo_index_generation{index="index"} 1.0' in text and "process_open_fds" in text and 'geo_workers{index="index"} 1.0' in text


def test_metrics_tell_how_passes_were_merged(index_path: Path, open_search: Any, tmp_path: Path) -> None:
    def doubled(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (2.0 * inputs[0],)

    with Merging(max_batch=8) as merging, Indexes({"index": index_path}, Opening(open_search, workers=1, merging=merging)) as indexes:
        runtime = merging.over(Batched(doubled, "doubling", 8))
        for rows in (2, 3):
            runtime.run(np.ones((rows, 3), np.float32))
        with TestClient(make_app(indexes, Settings(tmp_path / "jobs")), base_url="http://127.0.0.1") as client:
            text = client.get("/metrics").text
    assert "geo_passes 2.0" in text and "geo_pass_batches 2.0" in text and "geo_pass_batch_rows 2.5" in text
    assert "geo_passes_failed 0.0" in text


def test_metrics_tell_how_often_what_models_made_was_kept(index_path: Path, open_search: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    def opened(path: Path) -> GeoSearch:
        features, cells = (
            FeatureCache(folder=tmp_path / "kept", device_bytes=4096),
            FeatureCache(folder=tmp_path / "file" / "kept", form=CELLS),
        )
        known = open_search(path)
        known.index.close()
        return GeoSearch(GeoIndex.open(path), known.matchers["drone"].describer, features=features, cells=cells)

    with Indexes({"index": index_path}, Opening(opened, workers=1)) as indexes:
        with indexes.named("index").live.current() as search:
            assert search._features.get(b"a" * 32) is None
            search._features.put(b"a" * 32, np.ones((1, 2, 16, 16), np.float16))
            assert search._features.get(b"a" * 32) is not None
            search._features.tensors([b"a" * 32] * 2, list, torch.device("cpu"))
            search._features.tensors([b"a" * 32], list, torch.device("cpu"))
            assert search._cells.get(b"b" * 32) is None
        with TestClient(make_app(indexes, Settings(tmp_path / "jobs")), base_url="http://127.0.0.1") as client:
            lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line.startswith("geo_"))
    windows, cells = 'cache="object_features",index="index"', 'cache="cells",index="index"'
    assert lines[f'geo_cache_hits{{{windows},where="memory"}}'] == "3.0" and lines[f'geo_cache_hits{{{windows},where="disk"}}'] == "0.0"
    assert lines[f"geo_cache_misses{{{windows}}}"] == lines[f"geo_cache_misses{{{cells}}}"] == "1.0"
    assert float(lines[f'geo_cache_bytes{{{windows},where="memory"}}']) == 1024 + 256
    assert float(lines[f'geo_cache_bytes{{{windows},where="disk"}}']) > 1024
    assert lines[f'geo_cache_hits{{{windows},where="device"}}'] == "1.0"
    assert float(lines[f'geo_cache_bytes{{{windows},where="device"}}']) == 1024 + 256
    assert lines[f'geo_cache_trouble{{{windows},reason=""}}'] == "0.0" and lines[f"geo_cache_damaged{{{windows}}}"] == "0.0"
    assert lines[f'geo_cache_trouble{{{cells},reason="Not a directory"}}'] == "1.0"
    assert lines['geo_cells_from_index{index="index"}'] == "0.0"


@pytest.mark.parametrize(
    ("proxies", "statuses"),
    [
        ((), [200, 429, 429, 429]),  # whoever asks is one client, whatever it says of itself
        (("10.0.0.0/8",), [200, 429, 429, 429]),  # another proxy is believed
        (("127.0.0.1",), [200, 429, 200, 429]),
    ],
)
def test_clients_behind_a_proxy_have_a_rate_each_where_that_is_believed(
    indexes: Indexes, tmp_path: Path, serving: Any, proxies: tuple[str, ...], statuses: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    settings = Settings(tmp_path / "jobs", Limits(rate_per_minute=0.1), proxies=proxies)  # one token, and that a look costs a tenth
    with serving(indexes, settings) as running:
        seen = []
        for said in ("203.0.113.7", "198.51.100.1, 203.0.113.7", "203.0.113.8", "203.0.113.8"):
            answers = [running.get("/v1/indexes", headers={"X-Forwarded-For": said}) for _ in range(10)]
            seen.append(answers[0].status_code)
    assert seen == statuses, "the first ten looks of a client are allowed"


def test_a_bug_is_a_problem_that_names_the_request(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossgeo.web.map_routes.summary", lambda *given: 1 / 0)
    answer = client.get("/v1/indexes")
    assert answer.status_code == 500 and answer.json()["code"] == "internal"
    assert answer.json()["request_id"] in answer.json()["detail"] and "ZeroDivision" not in answer.text
