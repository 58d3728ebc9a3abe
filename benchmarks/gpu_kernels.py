"""Each kernel on the GPU against its peers in the same run: first that all agree with float64, then how long each takes.

python benchmarks/gpu_kernels.py [--only attention] [--rounds 20]. With --dry everything is tiny and runs on the CPU, Triton's kernels by
its interpreter: that says that the measuring works, and nothing about speed.

Ways are timed in turn, once a round, by events on the GPU, each after a write of more than its cache holds: inputs come from memory,
and the GPU is busy until the work has been handed to it, so that what is timed is its work and not the host's. What the same GPU
copies and multiplies at, measured alike, is the ceiling that shares are of.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from common import record, spread

FLUSH_BYTES = 512 * 1024 * 1024


def milliseconds(ways: Mapping[str, Callable[[], object]], rounds: int, device: str) -> dict[str, list[float]]:
    """Time each way once a round, in turn, after two rounds that do not count."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    if device == "cpu":
        for _ in range(rounds):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                taken[name].append(1e3 * (time.perf_counter() - began))
        return taken
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)
    for turn in range(rounds + 2):
        for name, way in ways.items():
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            flush.zero_()
            began.record()
            way()
            ended.record()
            torch.cuda.synchronize(device)
            if turn >= 2:
                taken[name].append(began.elapsed_time(ended))
    return taken


def ceilings(rounds: int, device: str) -> dict[str, Any]:
    """Return what this device copies at, in GB/s read and written, and multiplies large 16-bit matrices at, in TFLOP/s."""
    size = 1 << 12 if device == "cpu" else 1 << 30
    side = 64 if device == "cpu" else 8192
    source, target = torch.ones(size, dtype=torch.uint8, device=device), torch.empty(size, dtype=torch.uint8, device=device)
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    taken = milliseconds({"copy": lambda: target.copy_(source), "matmul": lambda: a @ b}, rounds, device)
    return {
        "copy_gb_s": spread([2 * size / ms / 1e6 for ms in taken["copy"]], 9),
        "bfloat16_matmul_tflop_s": spread([2 * side**3 / ms / 1e9 for ms in taken["matmul"]], 9),  # digits enough for a busy processor, too
    }


def measure(case: Any, rounds: int, device: str, most: dict[str, Any]) -> dict[str, Any]:
    """Check every way of a case against float64, then time those that run; what one raises is told, and fails the run at its end."""
    ways: dict[str, dict[str, Any]] = {}
    for name, way in case.ways.items():
        try:
            apart = case.error(way())
        except Exception as error:  # one peer that runs out of memory must not take the others' figures along
            ways[name] = {"agrees": False, "raised": f"{type(error).__name__}: {error}"[:400]}
        else:
            ways[name] = {"agrees": bool(apart < case.tolerance), "largest_difference": apart if math.isfinite(apart) else None}
    running = {name: way for name, way in case.ways.items() if "raised" not in ways[name]}
    taken = milliseconds(running, rounds, device)
    first = next(iter(case.ways))
    for name, times in taken.items():
        middle = spread(times)["median"]
        gb_s, tflop_s = case.moved_bytes / middle / 1e6, case.operations / middle / 1e9
        ways[name] |= {
            "ms": spread(times),
            "gb_s": gb_s,
            "share_of_copy": gb_s / most["copy_gb_s"]["median"],
            "tflop_s": tflop_s,
            "share_of_matmul": tflop_s / most["bfloat16_matmul_tflop_s"]["median"],
        }
        if first in taken:
            ways[name]["times_as_long_as_the_first"] = spread([t / f for t, f in zip(times, taken[first], strict=True)], 3)
    return {"what": case.what, "least_bytes": case.moved_bytes, "least_operations": case.operations, "ways": ways}


def main() -> None:
    """Measure all cases, record them, and fail where a way raised or differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="", help="cases whose names hold this")
    parser.add_argument("--dry", action="store_true", help="tiny, on the CPU; prints the result and records none")
    asked = parser.parse_args()
    device, rounds = ("cpu", 1) if asked.dry else (asked.device, asked.rounds)
    if asked.dry:
        os.environ["TRITON_INTERPRET"] = "1"  # before the first import of triton, which kernel_cases may bring
    from kernel_cases import CASES

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    most = ceilings(rounds, device)
    results, measured = {}, {}
    with torch.inference_mode():
        for name, build in CASES.items():
            if asked.only in name:
                case = build(device, asked.dry)
                # Cases that differ by their sizes alone are one where all are tiny.
                same = (build.func, *(given for given in build.args if type(given) is not int), case.what if asked.dry else name)
                results[name] = measured[same] = measured.get(same) or measure(case, rounds, device, most)
                gc.collect()
                torch.compiler.reset()
                if device != "cpu":
                    torch.cuda.empty_cache()
    gpu = "cpu" if device == "cpu" else torch.cuda.get_device_name(device)
    versions = {"triton": importlib.metadata.version("triton"), "cuda": torch.version.cuda}
    payload = {"device": gpu, "gpu_versions": versions, "rounds": rounds, "ceilings": most, "cases": results}
    if asked.dry:
        print(json.dumps(payload, indent=2, allow_nan=False))
    else:
        record("gpu-kernels", payload)
    wrong = [f"{case}: {way}" for case, result in results.items() for way, told in result["ways"].items() if not told["agrees"]]
    if wrong:
        raise SystemExit("differs from float64 or does not run: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
