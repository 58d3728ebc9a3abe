"""training/distributed.py: two processes with half a batch each learn what one does from the whole batch, are resumed, and wait."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed.distributed_c10d import _set_pg_timeout

from crossgeo.errors import InputError, MismatchError
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
    """Eight pairs a step, split among the processes; ends in an error before a step, as a run that is stopped."""

    def __init__(self, end: int = 1000) -> None:
        self.end = end

    def batch_of(self, number: int) -> PairBatch:
        if number // distributed.ranks() >= self.end:
            raise InputError("the end")
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


def train_with_dropout(out: Path, end: int = 1000) -> None:
    """Four steps, each of them kept; what dropout hides depends on all random numbers before."""
    how = replace(CONFIG, steps=4, checkpoint_s=0.0, workers=0)
    train_egotr(how, Halves(end), out, model_config=replace(TINY, dropout=0.5), view=DroneView(size_px=32))


def outwait_a_step() -> None:
    """Meet later than a step may take."""
    distributed.wait_for_all()
    _set_pg_timeout(timedelta(seconds=1.0))
    if distributed.rank() == 0:
        time.sleep(2.0)
    distributed.wait_for_all()
    _set_pg_timeout(timedelta(minutes=10.0))


def train_and_judge(out: Path) -> None:
    """Judge the model for as long as the other process has not come to wait."""
    meet = distributed.wait_for_all

    def come_to_wait() -> None:
        if distributed.rank() == 1:
            (out / "waiting").touch()
        meet()

    def judge(model: torch.nn.Module) -> dict[str, float]:
        for _ in range(3000):
            if (out / "waiting").exists():
                (out / "waiting").unlink()
                return {"waited": 1.0}
            time.sleep(0.01)
        return {"waited": 0.0}

    distributed.wait_for_all = come_to_wait
    how = replace(CONFIG, steps=2, checkpoint_s=0.0, workers=0)
    train_egotr(how, Halves(), out, model_config=TINY, view=DroneView(size_px=32), judge=judge)


def worker(out: Path) -> None:
    torch.set_num_threads(1)
    distributed.join("cpu", 0)
    found = {chunk: learned(chunk) for chunk in (0, 3)}
    train_egotr(CONFIG, Halves(), out / "run", model_config=TINY, view=DroneView(size_px=32))
    assert distributed.first_says(7.0 + distributed.rank(), "cpu") == 7.0
    assert distributed.all_say(distributed.rank()) == [0, 1]
    assert distributed.mean_of_all(torch.tensor([float("nan") if distributed.rank() else 1.0])).isnan().all()
    train_with_dropout(out / "unbroken")
    for end in (1, 3, 1000):
        with suppress(InputError):
            train_with_dropout(out / "resumed", end)
    if distributed.rank() == 0:
        (out / "found.json").write_text(json.dumps(found))
    outwait_a_step()
    train_and_judge(out / "judged")
    distributed.leave()


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if "loss" in row]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what two processes wrote."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    subprocess.run([sys.executable, __file__, str(folder), str(port)], check=True)
    return folder


def test_two_processes_have_the_loss_and_the_gradients_of_one_with_the_joint_batch(out: Path, tmp_path: Path) -> None:
    found = json.loads((out / "found.json").read_text())
    for chunk in (0, 3):
        wanted = learned(chunk)
        assert found[str(chunk)]["loss"] == pytest.approx(wanted["loss"], abs=1e-6)
        for name, gradient in wanted["gradients"].items():
            np.testing.assert_allclose(found[str(chunk)]["gradients"][name], gradient, atol=1e-6, rtol=1e-4, err_msg=name)
    train_egotr(CONFIG, Halves(), tmp_path / "one", model_config=TINY, view=DroneView(size_px=32))
    assert losses(out / "run") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)


def test_two_processes_stopped_twice_have_the_losses_of_an_unbroken_run(out: Path) -> None:
    assert losses(out / "resumed") == pytest.approx(losses(out / "unbroken"), abs=1e-6)
    assert len(losses(out / "unbroken")) == 4


def test_processes_wait_for_the_first_to_judge_and_not_in_the_next_step(out: Path) -> None:
    rows = [json.loads(line) for line in (out / "judged" / "log.jsonl").read_text().splitlines()]
    assert [(row["step"], row["waited"]) for row in rows if "waited" in row] == [(1, 1.0), (2, 1.0)]


def test_a_run_of_two_processes_is_not_resumed_by_one(out: Path) -> None:
    with pytest.raises(MismatchError, match="processes 2 there and 1 here"):
        train_egotr(replace(CONFIG, steps=5), Halves(), out / "run", model_config=TINY, view=DroneView(size_px=32))


if __name__ == "__main__":  # two processes as torchrun would start them, forked before any thread starts
    import torch.utils.tensorboard  # once, not while the other waits

    for rank in (0, 1):
        if os.fork() == 0:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[2]}
            worker(Path(sys.argv[1]))
            os._exit(0)
    sys.exit(any(os.waitstatus_to_exitcode(os.wait()[1]) for _ in (0, 1)))
