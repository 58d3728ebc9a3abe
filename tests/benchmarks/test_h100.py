"""benchmarks/h100.py: a dry run checks and times every row of the table, and a bar is met by the best of our ways alone."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(FOLDER)  # benchmarks are scripts: they import each other by bare names
    before = set(sys.modules)
    yield importlib.import_module("h100_rows")
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(FOLDER)):
            del sys.modules[name]


@pytest.mark.slow
def test_a_dry_run_finds_every_way_to_agree_and_judges_every_row() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, FOLDER / "h100.py", "--dry"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["rows"]
    assert {name.partition(",")[0] for name in found} == {"egotr-b aerial", "egotr-b query", "attengeo", "exact top-10 scan"}
    for name, row in found.items():
        assert row["best"].startswith(("ours", "triton")) and row["floor_ms"] > 0.0, name
        assert all(told["agrees"] and told["ms"]["median"] > 0.0 for told in row["ways"].values()), name
        for bar in row["bars"]:
            missing = "FAISS" in bar["what"]  # whose processors' build has no flat index for a GPU
            assert (bar["met"] is None) == missing and (bar["reached"] is None) == missing, (name, bar)


def _judged(rows: ModuleType, **ways: dict[str, Any]) -> dict[str, Any]:
    bars = rows.Bar("ms", rows.ms, most=2.0), rows.Bar("times faster", rows.faster_than("peer"), least=3.0)
    told: dict[str, Any] = rows.judged(rows.Row(partial(lambda: None), 1.0, bars), {"ways": ways})
    return told


def _way(ms: float, agrees: bool = True) -> dict[str, Any]:
    return {"ms": {"median": ms}, "agrees": agrees}


def test_the_best_is_the_fastest_of_ours_that_agrees_and_lies_on_the_card(rows: ModuleType) -> None:
    ours = {"ours": _way(2.0), "ours, torch.compile": _way(1.5), "ours, autotuned": _way(0.1, agrees=False)}
    told = _judged(rows, **ours, **{"ours, from arrays to arrays": _way(0.2)}, peer=_way(3.0))
    assert told["best"] == "ours, torch.compile"
    assert [(bar["reached"], bar["met"]) for bar in told["bars"]] == [(1.5, True), (2.0, False)]


def test_a_bar_without_its_peer_or_without_a_way_of_ours_is_neither_met_nor_missed(rows: ModuleType) -> None:
    assert [bar["met"] for bar in _judged(rows, ours=_way(2.5))["bars"]] == [False, None]
    told = _judged(rows, ours={"agrees": False, "raised": "of all memory"}, peer=_way(3.0))
    assert told["best"] is None and [bar["met"] for bar in told["bars"]] == [None, None]


def test_a_row_that_cannot_be_made_is_told_and_no_way_is_the_best(rows: ModuleType) -> None:
    def broken(device: str, tiny: bool) -> None:
        raise MemoryError("ten million rows")

    row = rows.Row(broken, 1.0, (rows.Bar("ms", rows.ms, most=2.0),))
    h100, timing = importlib.import_module("h100"), importlib.import_module("gpu_timing")
    told = rows.judged(row, h100.measured(row, "cpu", True, 1, {}))
    assert told["best"] is None and told["bars"][0]["met"] is None
    assert timing.wrong({"scan": told}) == ["scan: made"]
    assert told["ways"]["made"]["raised"] == "MemoryError: ten million rows"


def test_what_a_row_is_made_of_another_thread_may_compile(rows: ModuleType) -> None:
    def build(device: str, tiny: bool) -> Any:
        made.append(torch.nn.Linear(2, 2).weight)
        raise ValueError("seen enough")

    made: list[torch.Tensor] = []
    importlib.import_module("h100").measured(rows.Row(build, 1.0, ()), "cpu", True, 1, {})
    assert not made[0].is_inference()
