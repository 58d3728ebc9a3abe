"""`POST /v1/locate`: the same answers as from Python, and what is wrong with a question said as a problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from crossgeo.engine.photo import Photo
from crossgeo.engine.search import GeoSearch


def test_an_answer_is_that_of_python(client: TestClient, photo_file: bytes, index_path: Path, open_search: Any) -> None:
    asked = {"heading_deg": "10.5", "top": "3", "height_m": "50", "fov_deg": "62"}
    answer = client.post("/v1/locate", files={"photo": ("flight/made.png", photo_file)}, data=asked)
    assert answer.status_code == 200, answer.text
    search: GeoSearch
    with open_search(index_path) as search:
        true = search.query(Photo.read(photo_file, name="made.png"), heading_deg=10.5, top=3, height_m=50.0, fov_deg=62.0).to_json()
    said = answer.json()
    assert said.pop("timings_ms").keys() == true.pop("timings_ms").keys()
    assert said == true and true["places"]
    assert "total;dur=" in answer.headers["server-timing"]


def test_an_explanation_is_a_page_without_scripts(client: TestClient, photo_file: bytes) -> None:
    asked = {"heading_deg": "0", "height_m": "50", "fov_deg": "62"}
    page = client.post("/v1/explain", files={"photo": ("made.png", photo_file)}, data=asked)
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html"), page.text
    assert (
        "script-src" not in page.headers["content-security-policy"]
        and "style-src 'unsafe-inline'" in page.headers["content-security-policy"]
    )
    assert "made.png" in page.text and "<script" not in page.text
    assert client.post("/v1/explain", files={"photo": ("a.png", photo_file)}, data={"point": ["1,1", "2,2"]}).json()["code"] == "validation"


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"top": "0"}, "validation", "top"),
        ({"heading": "3"}, "validation", "heading"),  # the name is heading_deg
        ({"heading_deg": "nan"}, "validation", "heading_deg"),
        ({"point": "1;2"}, "validation", "point"),
        ({"near": "95,0"}, "usage", "latitude first"),
        ({"radius_m": "5"}, "usage", "near"),
        ({"polygon": "[1"}, "usage", "GeoJSON"),
        ({"polygon": '{"type": "Point", "coordinates": [0, 0]}'}, "usage", "polygon"),
        ({"vintage": "soon"}, "usage", "vintage"),
        ({"point": "100000,5"}, "usage", "outside the photo"),
        ({"kind": "street"}, "usage", "street"),
        ({"index": "other"}, "not-found", "other"),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong(client: TestClient, photo_file: bytes, fields: Any, code: str, says: str) -> None:
    refused = client.post("/v1/locate", files={"photo": ("a.png", photo_file)}, data=fields)
    told = refused.json()
    assert refused.headers["content-type"] == "application/problem+json"
    assert told["code"] == code and told["type"] == f"urn:crossgeo:problem:{code}" and told["status"] == refused.status_code
    assert says in told["detail"]


def test_a_body_that_is_no_form_with_one_photo_is_refused(client: TestClient, photo_file: bytes) -> None:
    def code(**given: Any) -> str:
        return str(client.post("/v1/locate", **given).json()["code"])

    assert code(content=photo_file, headers={"Content-Type": "image/png"}) == "media-type"
    assert code(content=b"--x\r\nrubbish", headers={"Content-Type": "multipart/form-data; boundary=x"}) == "validation"
    assert code(content=b"abc", headers={"Content-Type": "multipart/form-data"}) == "bad-request"
    assert code(files={"other": ("a.png", photo_file)}) == "validation"
    assert code(files=[("photo", ("a.png", photo_file)), ("photo", ("b.png", photo_file))]) == "bad-request"
    assert code(files={"photo": ("a.png", b"not an image")}) == "input"
    assert code(files={"photo": ("a.png", b"")}) == "input"
    assert code(files={"x": ("a", b"")}, data={"photo": "text"}) == "validation"
