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
    assert capsys.readouterr().out == "written: benchmarks/results/speed.json\n"
    assert path.name == "speed.json" and result["benchmark"] == "speed" and result["cases"] == [1, 2]
    assert result["versions"]["torch"] == torch.__version__ and result["machine"]["cores"] >= 1
    assert result["commit"] == "0" * 40


def test_a_record_refuses_what_json_cannot_hold(common: ModuleType) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        common.record("speed", {"ratio": float("nan")})


def test_a_run_goes_on_from_what_this_commit_measured_here_alone(common: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert common.recorded("speed", device="a card") == {}
    common.record("speed", {"device": "a card", "cases": {"one": 1}})
    assert common.recorded("speed", device="a card")["cases"] == {"one": 1}
    assert common.recorded("speed", device="another card") == {}
    for commit in ("1" * 40, "unknown", "0" * 40 + "+changes"):
        monkeypatch.setattr(common, "COMMIT", commit)
        assert common.recorded("speed", device="a card") == {}
    common.record("speed", {"device": "a card", "cases": {}})
    assert common.recorded("speed", device="a card") == {}  # of code that was changed, nobody knows how


def test_a_spread_is_median_least_and_greatest(common: ModuleType) -> None:
    assert common.spread([3.0, 1.0, 2.123456], 2) == {"median": 2.12, "least": 1.0, "greatest": 3.0}


def test_the_commit_is_that_of_the_start_or_unknown(common: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|unknown", common._commit())
    monkeypatch.delenv("COMMIT", raising=False)
    monkeypatch.setattr(common, "__file__", str(tmp_path / "benchmarks" / "common.py"))
    assert common._commit() == "unknown"
    monkeypatch.setenv("COMMIT", "2" * 40)  # told by who copied the files
    assert common._commit() == "2" * 40
