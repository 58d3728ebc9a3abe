"""training/loop.py: killed and resumed runs come to the same result, and whatever goes wrong leaves the last good checkpoint."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crossgeo.errors import LimitError, MismatchError, StoreError, UsageError
from crossgeo.training.loop import train
from crossgeo.training.saving import trained_model
from crossgeo.training.task import LoopSettings, Task

Numbers = NDArray[np.float32]


class Points:
    """A source of points and what is to be said of them."""

    def batch(self, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
        x = rng.normal(size=(8, 4)).astype(np.float32)
        return x, np.sin(x.sum(axis=1, keepdims=True)).astype(np.float32)


class Fit(Task[tuple[Numbers, Numbers]]):
    """Two layers with dropout between them, so that the random state matters; kills itself before step `kill_at`."""

    def __init__(self, kill_at: int = -1, name: str = "fit") -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(4, 16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, 1))
        self.identity = {"name": name}
        self.kill_at, self.seen = kill_at, 0

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "lr": 1e-2}]

    def learn(self, batch: tuple[Numbers, Numbers]) -> dict[str, Tensor]:
        if self.seen == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += 1
        x, y = (torch.from_numpy(part) for part in batch)
        loss = nn.functional.mse_loss(self.model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.detach()}


def settings(steps: int, **changes: Any) -> LoopSettings:
    return LoopSettings(**{"steps": steps, "average": 0.9, "log_steps": 3, "checkpoint_s": 0.0, **changes})


def rows(out: Path) -> list[dict[str, float]]:
    """The log of a run, without its times."""
    return [{k: v for k, v in json.loads(line).items() if k != "minutes"} for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_run_killed_twice_has_the_loss_curve_and_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, __file__, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["0", "-9", "-9", "0"]
    wanted, found = rows(tmp_path / "unbroken"), rows(tmp_path / "killed")
    assert [row["step"] for row in found] == [3, 6, 9, 12]
    for there, here in zip(wanted, found, strict=True):
        assert here == pytest.approx(there, abs=1e-6)
    states = [trained_model(tmp_path / name / "checkpoint.pt")[0] for name in ("unbroken", "killed")]
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, atol=1e-6, rtol=0)


def test_rows_written_after_the_last_checkpoint_come_again_once(tmp_path: Path) -> None:
    train(Fit(), Points(), settings(6), tmp_path)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 9, "loss": 1.0}\n{"step": 12, "lo')
    train(Fit(), Points(), settings(9), tmp_path)
    assert [row["step"] for row in rows(tmp_path)] == [3, 6, 9]


class Spoiled(Fit):
    """From its fifth step on, its loss or its gradients are no numbers."""

    def __init__(self, spoil: Callable[[Tensor], Tensor], gradient: bool) -> None:
        super().__init__()
        self.spoil, self.gradient = spoil, gradient

    def learn(self, batch: tuple[Numbers, Numbers]) -> dict[str, Tensor]:
        parts = super().learn(batch)
        if self.seen >= 5 and self.gradient:
            self.model[0].weight.grad.mul_(torch.inf)
        return {"loss": self.spoil(parts["loss"])} if self.seen >= 5 and not self.gradient else parts


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Spoiled(lambda loss: loss * torch.nan, False), "step 5: loss nan"),
        (Spoiled(lambda loss: loss * torch.inf, False), "step 5: loss inf"),
        (Spoiled(lambda loss: loss, True), "step 5: gradient (inf|nan)"),
    ],
    ids=["nan", "inf", "gradient"],
)
def test_a_loss_that_is_no_number_stops_the_run_and_the_last_good_checkpoint_stays(task: Spoiled, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        train(task, Points(), settings(20), tmp_path)
    state, saved = trained_model(tmp_path / "checkpoint.pt")
    assert saved["step"] == 4
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_a_full_disk_keeps_the_checkpoint_before_and_says_so(
    tmp_path: Path, room_for: Callable[[int], AbstractContextManager[None]]
) -> None:
    train(Fit(), Points(), settings(3, workers=0), tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    said = r"step 4 could not be saved, the checkpoint before it, of step 3, is kept"
    with room_for(len(before) // 2), pytest.raises(LimitError, match=said):
        train(Fit(), Points(), settings(6, workers=0), tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.tmp"))


def test_a_checkpoint_of_another_task_is_refused_with_both_named(tmp_path: Path) -> None:
    train(Fit(), Points(), settings(1), tmp_path)
    with pytest.raises(MismatchError, match=r"is of 'fit', this run of 'other'"):
        train(Fit(name="other"), Points(), settings(2), tmp_path)


class Named(Points):
    """Points that say where they come from."""

    def __init__(self, data: str, share: float) -> None:
        self.data, self.share = data, share

    def identity(self) -> dict[str, Any]:
        return {"data": self.data, "sampling": {"share": self.share}}


def test_a_checkpoint_of_other_data_or_another_way_to_draw_it_is_refused_and_what_differs_is_said(tmp_path: Path) -> None:
    train(Fit(), Named("one", 0.5), settings(1), tmp_path)
    with pytest.raises(
        MismatchError, match=r"another run \(data 'one' there and 'other' here, sampling\.share 0\.5 there and 0\.25 here\)"
    ):
        train(Fit(), Named("other", 0.25), settings(2), tmp_path)
    train(Fit(), Named("one", 0.5), settings(2), tmp_path)


def test_a_checkpoint_that_is_cut_short_is_named(tmp_path: Path) -> None:
    train(Fit(), Points(), settings(1), tmp_path)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(StoreError, match=r"checkpoint\.pt: not a whole checkpoint"):
        train(Fit(), Points(), settings(2), tmp_path)


def test_minutes_end_a_run_as_well_as_steps_and_one_of_them_must(tmp_path: Path) -> None:
    train(Fit(), Points(), LoopSettings(minutes=0.002, log_steps=1), tmp_path)
    assert trained_model(tmp_path / "checkpoint.pt")[1]["step"] >= 1
    with pytest.raises(UsageError, match="give minutes or steps"):
        train(Fit(), Points(), LoopSettings(), tmp_path / "other")


def test_what_a_judge_says_is_logged_at_each_checkpoint(tmp_path: Path) -> None:
    train(Fit(), Points(), settings(3, checkpoint_s=1e9), tmp_path, judge=lambda model: {"recall": 0.5 if model.training else 0.25})
    assert rows(tmp_path)[-1] == {"step": 3, "recall": 0.25}


def ended(out: Path, kill_at: int) -> int:
    """Train in a child process, on one thread, and return how it ended: 0, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        torch.manual_seed(4)
        train(Fit(kill_at), Points(), settings(12, workers=1), out)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":  # a process of its own, which forks before it starts any thread
    import torch.utils.tensorboard  # once, not in each child

    for name, kill_at in (("unbroken", -1), ("killed", 5), ("killed", 4), ("killed", -1)):
        print(ended(Path(sys.argv[1]) / name, kill_at))
