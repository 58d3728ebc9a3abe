"""Each kernel on the GPU against its peers in the same run: first that all agree with float64, then how long each takes (gpu_timing.py).

python benchmarks/gpu_kernels.py [--only attention] [--rounds 20] [--minutes 8]. The record is written after every case, and what it holds
of this commit, machine and versions is not measured again: a run that ends at --minutes is gone on with by the same command. With --dry
everything is tiny and runs on the CPU, Triton's kernels by its interpreter: that says that the measuring works, and nothing about speed.
What the same GPU copies and multiplies at, measured alike, is the ceiling that shares are of.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

import torch
from common import record, recorded
from gpu_timing import AGAIN, about, ceilings, cleared, lost, measure, not_made, wrong

NAME = "gpu-kernels"


def main() -> None:
    """Measure the cases, record them, and fail where a way raised or differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="", help="cases whose names hold this")
    parser.add_argument("--minutes", type=float, default=60.0, help="no case is begun after so many")
    parser.add_argument("--dry", action="store_true", help="tiny, on the CPU; prints the result and records none")
    asked = parser.parse_args()
    ends = time.monotonic() + 60.0 * asked.minutes
    device, rounds = ("cpu", 1) if asked.dry else (asked.device, asked.rounds)
    if asked.dry:
        os.environ["TRITON_INTERPRET"] = "1"  # before the first import of triton, which kernel_cases may bring
    from kernel_cases import CASES

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    payload: dict[str, Any] = {**about(device, rounds), "ceilings": ceilings(rounds, device), "left_out": []}
    results = {} if asked.dry else recorded(NAME, **about(device, rounds)).get("cases", {})
    measured: dict[Any, dict[str, Any]] = {}
    with torch.inference_mode():
        for name, build in CASES.items():
            if asked.only not in name or name in results:
                continue
            if time.monotonic() > ends:
                payload["left_out"].append(name)
                continue
            with cleared(device):
                try:
                    case = build(device, asked.dry)
                except Exception as error:
                    results[name] = not_made(error)
                else:
                    # Cases that differ by their sizes alone are one where all are tiny.
                    same = (build.func, *(given for given in build.args if type(given) is not int), case.what) if asked.dry else name
                    results[name] = measured[same] = measured.get(same) or measure(case, rounds, device, payload["ceilings"])
                    del case
            if not asked.dry:
                record(NAME, {**payload, "cases": results})
                if lost(device):
                    raise SystemExit(AGAIN)
    if asked.dry:
        print(json.dumps({**payload, "cases": results}, indent=2, allow_nan=False))
    if differ := wrong(results):
        raise SystemExit("differs from float64 or does not run: " + "; ".join(differ))


if __name__ == "__main__":
    main()
