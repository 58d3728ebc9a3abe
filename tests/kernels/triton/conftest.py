"""Triton twins without a GPU: interpreted (tests/conftest.py), and compiled ahead of time in a process of its own (compiling.py).

`torch.empty` and its like hold NaN in these tests (the largest whole number where there is no NaN), so that what a kernel forgets to
write shows.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses what `poisoned` asks for

SHARED_LIMIT = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024, 120: 99 * 1024}  # bytes a block may have: A100, H100, B200, RTX 50
TENSOR_CORES = {80: "mma.sync", 90: "wgmma.mma_async", 100: "tcgen05.mma", 120: "mma.sync"}


@dataclass(frozen=True)
class Compiled:
    """One launch of a twin, as compiled for a card."""

    name: str
    registers: int  # a thread
    spilled: int  # bytes a thread: spills and stack
    shared: int  # bytes a block
    warps: int
    grid: tuple[int, ...] | None
    ptx: str

    def check(self, arch: int, tensor_cores: bool = False) -> None:
        """Assert that nothing spills, that a block fits the card, and, if asked, that products are made by its tensor cores."""
        assert self.spilled == 0, f"{self.name}: {self.spilled} bytes a thread are spilled, with {self.registers} registers"
        assert self.shared <= SHARED_LIMIT[arch], f"{self.name}: {self.shared} bytes of shared memory"
        assert self.registers * 32 * self.warps <= 65536
        assert self.grid is None or (max(self.grid[1:], default=1) <= 65535 and self.grid[0] < 2**31)
        if tensor_cores:
            assert TENSOR_CORES[arch] in self.ptx, f"{self.name} has no {TENSOR_CORES[arch]}"


Compile = Callable[..., list[Compiled]]


@pytest.fixture(scope="session")
def compile_twin() -> Iterator[Compile]:
    """Return compile_twin("module:function", arch, *arguments, **named): what a twin launches for meta tensors, compiled for sm_`arch`."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = Path(__file__).with_name("compiling.py")
    worker = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert worker.stdin is not None and worker.stdout is not None

    def compile_twin(twin: str, arch: int, *arguments: Any, **named: Any) -> list[Compiled]:
        pickle.dump((twin, arch, arguments, named), worker.stdin)
        worker.stdin.flush()
        answer = pickle.load(worker.stdout)
        assert isinstance(answer, list), answer
        assert answer, f"{twin} launched nothing"
        return [Compiled(**launch) for launch in answer]

    yield compile_twin
    worker.stdin.close()
    assert worker.wait(timeout=60) == 0
    worker.stdout.close()


@pytest.fixture
def device() -> str:
    """Return where the twins run: interpreted on the CPU, or with TRITON_INTERPRET=0 on the GPU."""
    return "cpu" if os.environ["TRITON_INTERPRET"] == "1" else "cuda"


@pytest.fixture
def far(tmp_path: Path, device: str) -> Callable[..., torch.Tensor]:
    """Return far(shape, strides, dtype): a tensor over gigabytes; on a CPU a file with holes, of which little exists."""

    def far(shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        size = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 1
        if device == "cuda":
            return torch.empty(size, dtype=dtype, device=device).as_strided(shape, strides)
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.bin"
        return torch.from_file(str(file), shared=True, size=size, dtype=dtype).as_strided(shape, strides)

    return far


@pytest.fixture
def last_program(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """Have the interpreter run the last of a launch's many programs alone, over memory that is not filled first; a GPU runs all."""

    def short(*ends: int) -> range:
        return range(ends[0] - 1, ends[0]) if len(ends) == 1 and ends[0] > 1000 else range(*ends)  # loops in kernels are shorter

    if device == "cpu":
        from triton.runtime import interpreter

        monkeypatch.setattr(interpreter, "range", short, raising=False)
        torch.utils.deterministic.fill_uninitialized_memory = False  # so that what is not run takes no memory


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """Fill memory that torch hands out unwritten with NaN, or the largest whole number."""
    fill = torch.utils.deterministic.fill_uninitialized_memory
    was, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(was, warn_only=warned)
    torch.utils.deterministic.fill_uninitialized_memory = fill
