"""Which structure searches how many descriptors: exact while that is quick and fits, inverted lists beyond (docs/architecture.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from crossgeo.errors import LimitError, UsageError

_SCAN_BYTES_PER_S = 12e9  # of memory that one core reads while it multiplies: what an exact search of one query waits for
_CODE_BYTES_PER_S = 4e9  # of 4-bit codes that one core looks up for one query
_LEAST_ROWS = 2048  # fewer are always searched exactly
_ID_BYTES = 8


Refine = Literal["fp16", "sq8"]


@dataclass(frozen=True)
class Budget:
    """What a search may cost and must find."""

    recall: float = 0.99  # of the best tile, against exact search
    max_memory_bytes: float = math.inf  # of what is searched, read into memory or mapped
    max_latency_ms: float = 50.0  # of one query on one core

    def __post_init__(self) -> None:
        if not 0.5 <= self.recall <= 1.0:
            raise UsageError(f"recall is {self.recall:g}; ask for 0.5 to 1")
        for name, value in (("memory", self.max_memory_bytes), ("latency", self.max_latency_ms)):
            if not value > 0.0:
                raise UsageError(f"the most {name} is {value:g}; give more than nothing, or leave it out")


USUAL = Budget()


@dataclass(frozen=True)
class Structure:
    """How rows are searched, and why; `memory_bytes` is at most, since fewer axes may do."""

    kind: Literal["exact", "ivf"]
    memory_bytes: int
    why: str
    lists: int = 0
    refine: Refine = "fp16"

    def __str__(self) -> str:
        return "exact" if self.kind == "exact" else f"inverted lists ({self.lists}), 4-bit codes, re-ranked in {self.refine}"


def code_bytes(axes: int) -> int:
    """Return the bytes of a row's product-quantised code: 4 bits for every 2 axes, for every 4 where there are many."""
    return axes // 4 if axes <= 256 else axes // 8


def is_exact(rows: int, dim: int, budget: Budget = USUAL) -> bool:
    """Say whether rows (n, D) are searched exactly: where they fit and that is quick enough, or nothing else will do."""
    exact_ms = rows * dim * 4 / _SCAN_BYTES_PER_S * 1e3
    return rows * dim * 4 <= budget.max_memory_bytes and (rows < _LEAST_ROWS or exact_ms <= budget.max_latency_ms or budget.recall == 1.0)


def choose_structure(rows: int, dim: int, budget: Budget = USUAL, axes: int | None = None) -> Structure:
    """Choose for rows (n, D) that vary along `axes`, if that is known; raise LimitError where no structure fits in the memory."""
    exact_bytes = rows * dim * 4
    exact_ms = exact_bytes / _SCAN_BYTES_PER_S * 1e3
    fits = exact_bytes <= budget.max_memory_bytes
    if is_exact(rows, dim, budget):
        return Structure("exact", exact_bytes, f"about {max(exact_ms, 0.1):.1f} ms a query, {_size(exact_bytes)}")
    if rows < _LEAST_ROWS or budget.recall == 1.0:
        raise LimitError(
            f"exact search of {rows} tiles takes {_size(exact_bytes)}, more than {_size(budget.max_memory_bytes)}; "
            "allow more memory, or ask for less recall"
        )
    axes = axes or dim
    codes = rows * (code_bytes(axes) + _ID_BYTES)
    reason = f"exact search takes {exact_ms:.0f} ms a query" if fits else f"exact search takes {_size(exact_bytes)}"
    finer: tuple[tuple[Refine, int], ...] = (("fp16", 2), ("sq8", 1))
    for refine, width in finer:
        if codes + rows * axes * width <= budget.max_memory_bytes:
            return Structure("ivf", codes + rows * axes * width, reason, lists_for(rows), refine)
    if codes <= budget.max_memory_bytes:
        return Structure("ivf", codes, f"{reason}; what re-ranks lies on disk, mapped", lists_for(rows), "sq8")
    raise LimitError(
        f"{rows} tiles take at least {_size(codes)} to search, more than {_size(budget.max_memory_bytes)}; "
        "allow more, or take a larger --stride-m"
    )


def lists_for(rows: int) -> int:
    """Return how many lists: the power of two next to four square roots of the rows."""
    return int(2 ** round(math.log2(4.0 * math.sqrt(rows))))


def most_lists(rows: int, axes: int, lists: int, budget: Budget) -> int:
    """Return how many of the lists one core looks through in the time that a query may take; at least one."""
    all_ms = rows * code_bytes(axes) / _CODE_BYTES_PER_S * 1e3
    return max(1, int(lists * min(1.0, budget.max_latency_ms / all_ms)))


def _size(size_bytes: float) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size_bytes >= 0.1 * unit:
            return f"{size_bytes / unit:.3g} {name}"
    return f"{size_bytes / 1e3:.3g} kB"
