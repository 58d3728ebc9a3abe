"""The OpenAPI document against the service: schemathesis asks whatever it allows, and what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.testclient import TestClient

from crossgeo.web.problems import _ANYWHERE, KINDS, OF_ERROR
from crossgeo.web.served import Indexes, Opening
from crossgeo.web.settings import Limits, Settings

EXAMPLES = 10  # of each operation and mode
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance, response_headers_conformance,
    unsupported_method,
]  # fmt: skip


@pytest.fixture(scope="module")
def running(index_path: Path, open_search: Any, serving: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    limits = replace(Limits(), rate_per_minute=0.0)
    settings_ = Settings(tmp_path_factory.mktemp("jobs"), limits)
    with Indexes({"index": index_path}, Opening(open_search)) as indexes, serving(indexes, settings_) as service:
        yield service


@pytest.fixture(scope="module")
def schema(running: Any) -> Any:
    return schemathesis.openapi.from_url(running.address + "/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_the_service_answers_as_its_description_says(running: Any, schema: Any, mode: GenerationMode, photo_file: bytes) -> None:
    asked = set()
    job_id = running.post("/v1/jobs", files={"photo": ("bad.png", b"rubbish")}).json()["id"]
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            if case.method == "POST" and isinstance(case.body, dict) and len(case.body) % 2:
                case.body["photo"] = [photo_file] if case.path == "/v1/jobs" else photo_file
            if case.method == "GET" and "job_id" in case.path_parameters and len(asked) % 2:
                case.path_parameters["job_id"] = job_id
            answer = case.call_and_validate(checks=CHECKS, timeout=60)
            asked.add((case.method, case.path, answer.status_code))

        try:
            check()
        except Unsatisfiable:  # there is nothing to get wrong in a request without parameters
            assert mode is GenerationMode.NEGATIVE
    assert len({address for _, address, _ in asked}) >= 6


def test_every_problem_is_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == set(KINDS)
    assert set(OF_ERROR.values()) <= set(KINDS) and set(_ANYWHERE) <= set(KINDS)
    page = (Path(__file__).resolve().parents[2] / "docs" / "service.md").read_text()
    for code, kind in KINDS.items():
        assert f"| `{code}` | {kind.status} |" in page, f"docs/service.md does not have {code}"
