"""What the operating system says of the processor: its model, the instructions it has, and how much of it is ours."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path
from typing import cast

CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def fields() -> dict[str, str]:
    """Return the fields of the first processor in /proc/cpuinfo, none where there is no such file."""
    if not CPUINFO.is_file():
        return {}
    first = CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def model() -> str:
    """Return the processor's name, or its architecture where the system tells no name."""
    return fields().get("model name") or platform.processor() or platform.machine()


def instructions() -> frozenset[str]:
    """Return the instruction sets as Linux names them (avx2, amx_bf16, asimd, ...); empty where the system does not tell."""
    return frozenset((fields().get("flags") or fields().get("Features", "")).split())


def multiplies_bfloat16() -> bool:
    """Say whether it multiplies bfloat16 matrices in hardware."""
    return bool({"amx_bf16", "avx512_bf16"} & instructions())


def processors() -> int:
    """Return how many processors this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(cast("set[int]", allowed(0))) if allowed is not None else os.cpu_count() or 1
