"""How the GPU benchmarks check and time: every way of a case against float64, then all in turn, by replays of CUDA graphs.

Ways are timed once a round, between events, each after a write of more than the GPU's cache holds: inputs come from memory, and the GPU is
busy until the work has been handed to it. A way is captured as a CUDA graph and replayed, so that what is timed is its work and not its
launches; one that waits for the GPU within (`Hosted`), or that cannot be captured, is launched, and its result says so.
"""

from __future__ import annotations

import gc
import importlib.metadata
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from common import spread
from kernel_case import Case, Hosted

from crossgeo.engine.runtime.torch_compile import own_graphs

FLUSH_BYTES = 512 * 1024 * 1024
_BROKEN: list[Any] = []  # graphs whose capture broke: torch's allocator asks them still whether they are being captured
WARM = 3  # calls before a capture, and rounds that do not count
AGAIN = 75  # the exit code of a run that lost the card: another process goes on
Way = Callable[[], Any]


def milliseconds(ways: Mapping[str, Way], rounds: int, device: str) -> tuple[dict[str, list[float]], dict[str, str], dict[str, str]]:
    """Time each way once a round, in turn; return its milliseconds, by what they were taken, and what those raised that do not run."""
    raised: dict[str, str] = {}
    if device == "cpu":
        return {name: [1e3 * _seconds(way) for _ in range(rounds)] for name, way in ways.items()}, dict.fromkeys(ways, "the clock"), raised
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)
    ready, by = {}, {}
    for name, way in ways.items():
        try:
            ready[name], by[name] = _captured(way)
        except Exception as error:  # of one way: the others are timed
            raised[name] = said(error)
    taken: dict[str, list[float]] = {name: [] for name in ready}
    for turn in range(rounds + WARM):
        for name, way in [*ready.items()]:
            try:
                flush.zero_()
                ms = _by_clock(way) if by[name] == "the clock" else _by_events(way)
            except Exception as error:
                raised[name] = said(error)
                del ready[name], taken[name]
                continue
            if turn >= WARM:
                taken[name].append(ms)
    return taken, by, raised


def said(error: Exception) -> str:
    """Return an error as a record has it."""
    return f"{type(error).__name__}: {error}"[:400]


def _captured(way: Way) -> tuple[Way, str]:
    """Return a replay of a way and "graph", or the way itself and how it is timed."""
    if isinstance(way, Hosted):
        return way, "the clock"
    before = torch.cuda.current_stream()
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(before)
    with torch.cuda.stream(side):
        for _ in range(WARM):
            way()
    before.wait_stream(side)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        way()
    except RuntimeError as error:  # it waits for the GPU, which no graph holds: better known before a capture than by one that breaks
        return way, _launched(error)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # a runtime's thread may allocate meanwhile
            way()
    except Exception as error:
        _BROKEN.append(graph)
        torch.cuda.set_stream(before)  # torch.cuda.graph leaves its own where a capture breaks, and the generator waiting for an end
        torch.cuda.synchronize()
        own = torch.cuda.default_generators[before.device_index]
        own.graphsafe_set_state(torch.Generator(own.device).graphsafe_get_state())
        return way, _launched(error)
    return graph.replay, "graph"


def _launched(error: Exception) -> str:
    return f"launches: {(str(error) or type(error).__name__).splitlines()[0][:120]}"


def _by_events(way: Way) -> float:
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    way()
    ended.record()
    torch.cuda.synchronize()
    return float(began.elapsed_time(ended))


def _by_clock(way: Way) -> float:
    torch.cuda.synchronize()
    return 1e3 * _seconds(way)


def _seconds(way: Way) -> float:
    began = time.perf_counter()
    way()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def ceilings(rounds: int, device: str) -> dict[str, Any]:
    """Return what this device copies at, in GB/s read and written, and multiplies large 16-bit matrices at, in TFLOP/s."""
    size = 1 << 12 if device == "cpu" else 1 << 30
    side = 64 if device == "cpu" else 8192
    source, target = torch.ones(size, dtype=torch.uint8, device=device), torch.empty(size, dtype=torch.uint8, device=device)
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    taken, *_ = milliseconds({"copy": lambda: target.copy_(source), "matmul": lambda: a @ b}, rounds, device)
    return {
        "copy_gb_s": spread([2 * size / ms / 1e6 for ms in taken["copy"]], 9),
        "bfloat16_matmul_tflop_s": spread([2 * side**3 / ms / 1e9 for ms in taken["matmul"]], 9),  # digits enough for a busy processor, too
    }


def measure(case: Case, rounds: int, device: str, most: Mapping[str, Any]) -> dict[str, Any]:
    """Check every way of a case against float64, then time those that run; what one raises is told, and fails the run at its end."""
    ways: dict[str, dict[str, Any]] = {}
    for name, way in case.ways.items():
        try:
            apart = case.error(way())
        except Exception as error:  # one peer that runs out of memory must not take the others' figures along
            ways[name] = {"agrees": False, "raised": said(error)}
        else:
            ways[name] = {"agrees": bool(apart < case.tolerance), "largest_difference": apart if math.isfinite(apart) else None}
    running = {name: way for name, way in case.ways.items() if "raised" not in ways[name]}
    taken, by, raised = milliseconds(running, rounds, device) if running else ({}, {}, {})
    ways |= {name: {"agrees": False, "raised": why} for name, why in raised.items()}
    first = next(iter(case.ways))
    for name, times in taken.items():
        middle = spread(times, 6)["median"]
        gb_s, tflop_s = case.moved_bytes / middle / 1e6, case.operations / middle / 1e9
        ways[name] |= {
            "ms": spread(times),
            "by": by[name],
            "gb_s": gb_s,
            "share_of_copy": gb_s / most["copy_gb_s"]["median"],
            "tflop_s": tflop_s,
            "share_of_matmul": tflop_s / most["bfloat16_matmul_tflop_s"]["median"],
        }
        if first in taken:
            ways[name]["times_as_long_as_the_first"] = spread([t / f for t, f in zip(times, taken[first], strict=True)], 3)
    left_out = {"left_out": case.left_out} if case.left_out else {}
    return {"what": case.what, **left_out, "least_bytes": case.moved_bytes, "least_operations": case.operations, "ways": ways}


def not_made(error: Exception) -> dict[str, Any]:
    """Return the result of a case that could not be made."""
    return {"what": "could not be made", "ways": {"made": {"agrees": False, "raised": said(error)}}}


def lost(device: str) -> bool:
    """Say whether the card answers nothing any more, as after a fault in a kernel: only another process goes on."""
    if device == "cpu":
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


@contextmanager
def cleared(device: str) -> Iterator[None]:
    """Leave nothing of a case behind: its tensors, graphs and compiled code."""
    try:
        yield
    finally:
        if device != "cpu":
            own_graphs()  # of this thread, which the reset asks for
        torch.compiler.reset()
        gc.collect()
        if not lost(device) and device != "cpu":
            torch.cuda.empty_cache()


def wrong(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Name the ways that raised or differ."""
    return [f"{case}: {way}" for case, result in results.items() for way, told in result["ways"].items() if not told["agrees"]]


def about(device: str, rounds: int) -> dict[str, Any]:
    """Return what stands in a record beside the machine."""
    gpu = "cpu" if device == "cpu" else torch.cuda.get_device_name(device)
    versions = {"triton": importlib.metadata.version("triton"), "cuda": torch.version.cuda}
    return {"device": gpu, "gpu_versions": versions, "rounds": rounds}
