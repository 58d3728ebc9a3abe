"""training/distributed.py: two processes with half a batch each learn what one learns from the whole batch."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crossgeo.models.egotr import PRESETS, EgoTR
from crossgeo.models.views import DroneView
from crossgeo.training import distributed
from crossgeo.training.egotr import EgoTRTask, EgoTRTraining, train_egotr
from crossgeo.training.pair_batch import Look, PairBatch, Places

TINY = replace(PRESETS["egotr-s"], ground_hw=(32, 32), aerial_hw=(32, 32), width=32, layers=1, heads=2, hidden=32, descriptor=16)
CONFIG = EgoTRTraining(steps=3, loss="infonce", apart_m=5.0, tied_share=0.0, frozen_blocks=0, dense=False, bf16=False, log_steps=1)


def batch_of(rows: range) -> PairBatch:
    """Pairs 100 m apart; each third shows the aerial of the pair before it, too."""
    rng = np.random.default_rng(8)
    views, tiles = rng.integers(1, 256, (2, 8, 32, 32, 3), dtype=np.uint8)
    number = np.arange(8)
    xy = np.stack([100.0 * number, 0.0 * number], axis=1)
    also = np.where(number % 3 == 2, number - 1, -1)[:, None]
    at = np.array(rows)
    places = Places(xy, xy, 0 * number, number, also, np.full(8, -1))[at]
    looks = [Look(views[n], np.ones((32, 32), np.bool_), tiles[n], (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)) for n in at]
    return PairBatch.of(looks, places, at)


class Halves:
    """Eight pairs a step, split among the processes."""

    def batch_of(self, number: int) -> PairBatch:
        if distributed.ranks() == 1:
            return batch_of(range(8))
        return batch_of(range(0, 4) if number % 2 == 0 else range(4, 8))


def learned(chunk: int) -> dict[str, Any]:
    """Return one batch's loss and some of each of its gradients."""
    torch.manual_seed(6)
    task = EgoTRTask(replace(CONFIG, chunk=chunk), EgoTR(TINY), DroneView(size_px=32), DroneView(size_px=32).normalise_tiles)
    part = batch_of(range(8)) if distributed.ranks() == 1 else Halves().batch_of(distributed.rank())
    loss = task.learn(part)["loss"].item()
    distributed.average_gradients(task.parameters())
    named = [(name, p.grad) for name, p in task.named_parameters() if p.grad is not None]
    return {"loss": loss, "gradients": {name: gradient.flatten()[::50].tolist() for name, gradient in named}}


def worker(out: Path) -> None:
    torch.set_num_threads(1)
    distributed.join("cpu", 0)
    found = {chunk: learned(chunk) for chunk in (0, 3)}
    train_egotr(CONFIG, Halves(), out / "run", model_config=TINY, view=DroneView(size_px=32))
    assert distributed.first_says(7.0 + distributed.rank(), "cpu") == 7.0
    assert distributed.mean_of_all(torch.tensor([float("nan") if distributed.rank() else 1.0])).isnan().all()
    if distributed.rank() == 0:
        (out / "found.json").write_text(json.dumps(found))
    distributed.leave()


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in map(json.loads, (out / "log.jsonl").read_text().splitlines())]


def test_two_processes_have_the_loss_and_the_gradients_of_one_with_the_joint_batch(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    subprocess.run([sys.executable, __file__, str(tmp_path), str(port)], check=True)
    found = json.loads((tmp_path / "found.json").read_text())
    for chunk in (0, 3):
        wanted = learned(chunk)
        assert found[str(chunk)]["loss"] == pytest.approx(wanted["loss"], abs=1e-6)
        for name, gradient in wanted["gradients"].items():
            np.testing.assert_allclose(found[str(chunk)]["gradients"][name], gradient, atol=1e-6, rtol=1e-4, err_msg=name)
    train_egotr(CONFIG, Halves(), tmp_path / "one", model_config=TINY, view=DroneView(size_px=32))
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)


if __name__ == "__main__":  # two processes as torchrun would start them, forked before any thread starts
    for rank in (0, 1):
        if os.fork() == 0:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[2]}
            worker(Path(sys.argv[1]))
            os._exit(0)
    sys.exit(any(os.waitstatus_to_exitcode(os.wait()[1]) for _ in (0, 1)))
