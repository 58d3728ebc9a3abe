"""Indexes written by earlier versions open for ever and answer as they did; those of later versions are refused with advice."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgeo.errors import MismatchError
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.verify import verify_index

GOLDEN = Path(__file__).with_name("golden")
INDEXES = sorted(path.stem for path in GOLDEN.glob("*.json"))


@pytest.fixture
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a copy of a golden index, which may be written to, and what it must answer."""
    out = tmp_path / "golden.geo"
    shutil.copytree(GOLDEN / request.param, out)
    return out, json.loads((GOLDEN / f"{request.param}.json").read_text())


def told(index: GeoIndex) -> dict[str, Any]:
    """Return what make.py asked when the index was made."""
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
    assert spec is not None and spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    said: dict[str, Any] = make.told(index)
    return said


def test_there_is_a_golden_index_of_every_format() -> None:
    assert set(INDEXES) >= {"v1", "v1-layers", "v1-lists"}


@pytest.mark.parametrize("golden", INDEXES, indirect=True)
def test_a_golden_index_is_whole_and_answers_as_it_did(golden: tuple[Path, dict[str, Any]]) -> None:
    path, wanted = golden
    assert verify_index(path) == []
    with GeoIndex.open(path) as index:
        said = told(index)
    assert {key: said[key] for key in ("hash", "generation", "identity", "crs", "tiles")} == {
        key: wanted[key] for key in ("hash", "generation", "identity", "crs", "tiles")
    }
    np.testing.assert_array_equal(said["centres"], wanted["centres"])
    np.testing.assert_allclose(said["lat_lon"], wanted["lat_lon"], rtol=0, atol=1e-8)  # a millimetre: PROJ may round otherwise
    np.testing.assert_allclose(said["descriptors"], wanted["descriptors"], rtol=0, atol=1e-6)
    for kind in ("search", "among"):
        assert said[kind]["ids"] == wanted[kind]["ids"]
        np.testing.assert_allclose(said[kind]["scores"], wanted[kind]["scores"], rtol=0, atol=2e-5)
    for here, there in zip(said["windows"], wanted["windows"], strict=True):
        assert here["valid"] == there["valid"]
        np.testing.assert_allclose(here["mean"], there["mean"], rtol=0, atol=0.5)  # JPEG decoders may differ by a level


@pytest.mark.parametrize("golden", ["v1"], indirect=True)
@pytest.mark.parametrize("change", [{"version": 2}, {"version": 99}, {"features": ["from-the-future"]}, {"version": 2, "content": {}}])
def test_an_index_of_a_later_version_says_to_update(golden: tuple[Path, dict[str, Any]], change: dict[str, Any]) -> None:
    path = golden[0] / "manifest-000001.json"
    data = json.dumps(json.loads(path.read_text()) | change).encode()
    path.write_bytes(data)
    (golden[0] / "CURRENT").write_text(f"{path.name} {hashlib.sha256(data).hexdigest()}\n")
    for attempt in (lambda: GeoIndex.open(golden[0]), lambda: verify_index(golden[0])):
        with pytest.raises(MismatchError, match="update") as raised:
            attempt()
        assert path.name in str(raised.value)
        assert all(name in str(raised.value) for name in change.get("features", []))
