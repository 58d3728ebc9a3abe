"""benchmarks/gpu_kernels.py: a dry run checks and times every way of every case, and a way that differs or raises is told."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def gpu_timing(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(FOLDER)  # benchmarks are scripts: they import each other by bare names
    yield importlib.import_module("gpu_timing")
    for name in ("common", "kernel_case", "gpu_timing"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_a_dry_run_finds_every_way_to_agree_and_times_it() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, FOLDER / "gpu_kernels.py", "--dry"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["device"] == "cpu" and result["ceilings"]["copy_gb_s"]["median"] > 0
    assert {name.partition(",")[0] for name in result["cases"]} >= {"attention", "similarity_topk", "polar_transform", "decode_boxes"}
    for name, case in result["cases"].items():
        assert case["least_bytes"] > 0, name
        for way, told in case["ways"].items():
            assert told["by"] == "the clock" and told["agrees"] and told["ms"]["median"] > 0 and told["gb_s"] > 0, (name, way)


def _case(gpu_timing: ModuleType, **ways: Any) -> dict[str, Any]:
    from kernel_case import Case, against

    case = Case("one number", ways, against(lambda: torch.ones(1)), 1e-3, 8, 2)
    most = {"copy_gb_s": {"median": 1.0}, "bfloat16_matmul_tflop_s": {"median": 1.0}}
    told: dict[str, Any] = gpu_timing.measure(case, 2, "cpu", most)["ways"]
    return told


def test_a_way_that_differs_is_told_by_how_much_and_one_without_a_number_is_no_agreement(gpu_timing: ModuleType) -> None:
    told = _case(gpu_timing, right=lambda: torch.ones(1), wrong=lambda: 1.5 * torch.ones(1), lost=lambda: torch.tensor([float("nan")]))
    assert [way["agrees"] for way in told.values()] == [True, False, False]
    assert [way["largest_difference"] for way in told.values()] == [0.0, 0.5, None]


def test_a_way_that_raises_leaves_the_others_their_figures(gpu_timing: ModuleType) -> None:
    def broken() -> torch.Tensor:
        raise MemoryError("of all memory")

    told = _case(gpu_timing, right=lambda: torch.ones(1), broken=broken)
    assert told["broken"] == {"agrees": False, "raised": "MemoryError: of all memory"}
    assert told["right"]["times_as_long_as_the_first"]["median"] == 1.0
