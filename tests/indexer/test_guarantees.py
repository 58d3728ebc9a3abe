"""The guarantees of docs/guarantees.md, each tried in short; benchmarks/reliability.py tries them at length."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
TRIALS = Path(__file__).with_name("trials")


@pytest.fixture
def tried(tmp_path: Path) -> Any:
    """Return a function that runs a trial in a process of its own and returns what it says, nothing of it wrong."""

    def run(name: str, *options: str) -> dict[str, Any]:
        if options and int(options[-1]) % 2:  # an odd seed, at the end of the options
            options += ("--lists",)
        command = [sys.executable, str(TRIALS / f"{name}.py"), str(tmp_path), *options]
        done = subprocess.run(command, env=os.environ | LONE_THREAD, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        assert said["wrong"] == []
        return said

    return run


@pytest.fixture
def seed() -> str:
    """Return another seed each time; pytest shows it with a failure."""
    drawn = str(random.SystemRandom().randrange(1_000_000))
    print(f"seed {drawn}")
    return drawn


@pytest.mark.slow
def test_what_was_acknowledged_outlives_twenty_kills_and_the_next_run_ends_like_an_unbroken_one(tried: Any, seed: str) -> None:
    said = tried("killing", "--kills", "20", "--seed", seed)
    assert said["kills"] == 20, "too many random moments came after the end"
    assert said["at_points"] == 10
    assert said["points"] > 100


def test_whichever_call_fails_the_index_answers_as_before_and_the_step_can_be_given_again(tried: Any, seed: str) -> None:
    said = tried("failing", "--every", "4", "--first", str(1 + int(seed) % 4))  # another quarter of the calls each time
    assert min(said["calls"]) > 40
    assert len(said["calls"]) == 5
    assert said["trials"] > sum(said["calls"]) / 5
    assert sum(said["ended"].get(kind, 0) for kind in ("LimitError", "StoreError")) > 0.9 * said["trials"]


def test_a_power_cut_at_any_moment_leaves_one_generation_or_the_other(tried: Any, seed: str) -> None:
    said = tried("losing", "--states", "120", "--seed", seed)
    assert said["older_generation"] > 50
    assert said["newer_generation"] > 0
    assert said["went_on"] == 10


def test_damage_is_an_error_that_names_the_file_never_a_signal_nor_another_answer(tried: Any, seed: str) -> None:
    said = tried("damaging", "--trials", "300", "--pieces", "8", "--seed", seed)
    assert (said["trials"], said["signals"], said["pieces"]) == (300, 0, 8)
    assert set(said["files"]) > {"CURRENT", "manifest-000005.json", "ann.faiss", "blocks.lmdb", "descriptors.h5"}
    assert sum(count for outcome, count in said["outcomes"].items() if outcome.endswith("StoreError")) > 150


def test_every_answer_belongs_to_one_generation_however_fast_they_follow(tried: Any, seed: str) -> None:
    said = tried("publishing", "--seconds", "3", "--seed", seed)
    assert said["published"] > 10
    assert all(reader["answers"] > 2 and reader["generations"] > 1 for reader in said["readers"])


def test_a_build_out_of_memory_leaves_the_index_as_it_was(tried: Any) -> None:
    said = tried("starving", "--step-mib", "6")
    assert said["ended"].pop("done") == 1
    assert sum(said["ended"].values()) > 2
