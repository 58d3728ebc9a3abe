"""torch-compile on a GPU: each half is one graph with the Triton twins in it, whole on the card (tracing.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ATTENTION, BLOCK = "cross_attention", "convnext_block"
EXPECTED = {
    "aerial bf16": {ATTENTION: 2},  # a layer each
    "maps bf16": {},
    "ground bf16": {ATTENTION: 2},
    "attengeo-s query bf16": {ATTENTION: 3},  # both views of one iteration, and what fuses them
    "blocks reference bf16": {BLOCK: 3},
    "blocks query bf16": {BLOCK: 3, ATTENTION: 3},
    "street reference bf16": {BLOCK: 3},
    "aerial fp16": {ATTENTION: 2},
    "blocks query fp16": {BLOCK: 3, ATTENTION: 3},
}


@pytest.fixture(scope="module")
def traced() -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, Path(__file__).with_name("tracing.py")]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_each_half_is_one_graph_of_fixed_sizes_on_the_card_whatever_was_compiled_before(traced: dict[str, Any]) -> None:
    assert {name: (one["graphs"], one["devices"], one["open"]) for name, one in traced.items()} == {
        name: (1, ["cuda:0"], []) for name in EXPECTED
    }


def test_the_twins_are_in_the_graphs(traced: dict[str, Any]) -> None:
    assert {name: one["ours"] for name, one in traced.items()} == EXPECTED


def test_rows_that_fill_a_batch_up_are_cut_off_again(traced: dict[str, Any]) -> None:
    assert all(shape[0] == 3 for one in traced.values() for shape in one["shapes"])
    assert traced["aerial bf16"]["shapes"] == [[3, 768]]
