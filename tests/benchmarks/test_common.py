"""benchmarks/common.py: a result says where, on what and from which commit it was measured."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture
def common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    source = Path(__file__).resolve().parents[2] / "benchmarks" / "common.py"
    spec = importlib.util.spec_from_file_location("benchmarks_common", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "COMMIT", "0" * 40)  # a source archive has no history
    return module


def test_a_record_holds_the_payload_machine_commit_and_versions(common: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    path = common.record("speed", {"cases": [1, 2]})
    result = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out) == result
    assert path.name == "speed.json" and result["benchmark"] == "speed" and result["cases"] == [1, 2]
    assert result["versions"]["torch"] == torch.__version__ and result["machine"]["cores"] >= 1
    assert result["commit"] == "0" * 40


def test_a_record_refuses_what_json_cannot_hold(common: ModuleType) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        common.record("speed", {"ratio": float("nan")})


def test_a_spread_is_median_least_and_greatest(common: ModuleType) -> None:
    assert common.spread([3.0, 1.0, 2.123456], 2) == {"median": 2.12, "least": 1.0, "greatest": 3.0}


def test_the_commit_is_that_of_the_start_or_unknown(common: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|unknown", common._commit())
    monkeypatch.setattr(common, "__file__", str(tmp_path / "benchmarks" / "common.py"))
    assert common._commit() == "unknown"
