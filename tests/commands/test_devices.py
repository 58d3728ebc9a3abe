"""`--device` names what there is, and what there is not is refused before anything is read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from crossgeo.commands.devices import device_of
from crossgeo.errors import UsageError

Machine = Callable[[int], None]


@pytest.fixture
def machine_of(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return what makes this a machine with some GPUs, of which number 1 is taken."""

    def zeros(_: int, device: str) -> None:
        if device == "cuda:1":
            raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nCompile with ...")

    def has(gpus: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch, "zeros", zeros)

    return has


@pytest.mark.parametrize(("gpus", "asked", "device"), [
    (0, "auto", "cpu"), (0, "cpu", "cpu"), (3, "auto", "cuda"), (3, "cpu", "cpu"), (3, "cuda", "cuda"), (3, "cuda:2", "cuda:2"),
])  # fmt: skip
def test_a_device_that_is_there_is_taken(gpus: int, asked: str, device: str, machine_of: Machine) -> None:
    machine_of(gpus)
    assert device_of(asked) == device


@pytest.mark.parametrize(("gpus", "asked", "said"), [
    (0, "cuda", r"--device cuda: torch \S+ (is built without CUDA|finds no GPU or no driver).*; give cpu or auto"),
    (3, "cuda:3", "GPUs are counted from 0 to 2 here; give cpu or auto"),
    (3, "cuda:1", "cuda:1: CUDA error: all CUDA-capable devices are busy or unavailable; give cpu or auto"),
    (3, "meta", "no such device; give cpu, cuda, cuda:1 or auto"), (3, "", "no such device"), (3, "cuda:-1", "no such device"),
])  # fmt: skip
def test_a_device_that_is_not_to_be_had_is_refused(gpus: int, asked: str, said: str, machine_of: Machine) -> None:
    machine_of(gpus)
    with pytest.raises(UsageError, match=said):
        device_of(asked)
