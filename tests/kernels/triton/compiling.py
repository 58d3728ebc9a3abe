"""Compile what a Triton twin would launch, for a GPU that is not here; run by conftest.py as a process of its own.

Triton decides at import whether its kernels are interpreted, so a process that interprets them cannot compile them. Pickled requests
(twin, architecture, arguments) come on stdin; each is the twin's own call on tensors of the meta device, in which every launch is
compiled with the very arguments, constants and options that it would have, and answered on stdout with what came out.
"""

from __future__ import annotations

import importlib
import pickle
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

_BIN = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


class AbsentCard:
    """What Triton asks a driver before it compiles, answered for a card of some compute capability."""

    def __init__(self, arch: int) -> None:
        self.arch = arch

    def get_current_target(self) -> GPUTarget:
        """Name the card."""
        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> int:
        """Number the card; kernels are cached by this number."""
        return self.arch

    def get_current_stream(self, device: int) -> int:
        """Return a stream on which nothing is ever launched."""
        return 0


def compiled(twin: str, arch: int, arguments: tuple[Any, ...], named: dict[str, Any]) -> list[dict[str, Any]]:
    """Call module:function with the arguments, and return what each of its launches compiles to."""
    module, _, name = twin.partition(":")
    driver.set_active(AbsentCard(arch))
    launched: list[dict[str, Any]] = []
    run = triton.JITFunction.run

    def compile_instead(kernel: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        binary = run(kernel, *args, grid=grid, warmup=True, **options)
        launched.append(described(binary, grid))
        return binary

    triton.JITFunction.run = compile_instead
    try:
        getattr(importlib.import_module(module), name)(*arguments, **named)
    finally:
        triton.JITFunction.run = run
    return launched


def described(binary: Any, grid: Any) -> dict[str, Any]:
    """Return a compiled kernel's registers a thread, spilled and stack bytes, shared bytes a block, warps, grid and PTX."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        usage = subprocess.run([_BIN / "cuobjdump", "--dump-resource-usage", file.name], check=True, capture_output=True, text=True).stdout
    used = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    return {
        "name": binary.metadata.name,
        "registers": used["REG"],
        "spilled": used["STACK"] + used["LOCAL"],
        "shared": binary.metadata.shared,
        "warps": binary.metadata.num_warps,
        "grid": tuple(grid) if not callable(grid) else None,
        "ptx": binary.asm["ptx"],
    }


def main() -> None:
    """Answer requests until stdin ends; what a request raises is its answer."""
    answers = sys.stdout.buffer
    sys.stdout = sys.stderr
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer: Any = compiled(*request)
        except Exception:
            answer = traceback.format_exc()
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
