"""What an H100 must show, a row each: on tensors that lie on the card, and through the runtime from arrays to arrays.

python benchmarks/h100.py [--only scan] [--rounds 20] [--minutes 8] [--autotune] [--dry]. The rows and their peers are h100_rows.py's; they
are checked and timed as gpu_timing.py says, and gone on with as gpu_kernels.py says. The whole question, from a photo to its place and
object, is query.py's. `met` is whether the fastest of our own ways that agree reaches what is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from typing import Any

import torch
from common import record, recorded
from gpu_timing import AGAIN, about, ceilings, cleared, lost, measure, not_made, wrong

NAME = "h100"


def measured(row: Any, device: str, tiny: bool, rounds: int, most: Mapping[str, Any]) -> dict[str, Any]:
    """Make a row's case and measure it; what is made in inference mode no other thread's runtime could compile."""
    try:
        with torch.no_grad():
            case = row.build(device, tiny)
    except Exception as error:
        return not_made(error)
    with torch.inference_mode():
        return measure(case, rounds, device, most)


def main() -> None:
    """Measure the rows, record them, and fail where a way raised or strays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="", help="rows whose names hold this")
    parser.add_argument("--minutes", type=float, default=60.0, help="no row is begun after so many")
    parser.add_argument("--autotune", action="store_true", help="have torch.compile try out kernels of products, too; minutes a model")
    parser.add_argument("--dry", action="store_true", help="tiny, on the CPU; prints the result and records none")
    asked = parser.parse_args()
    ends = time.monotonic() + 60.0 * asked.minutes
    device, rounds = ("cpu", 1) if asked.dry else (asked.device, asked.rounds)
    if asked.dry:
        os.environ["TRITON_INTERPRET"] = "1"  # before the first import of triton, which the scan brings
    from h100_rows import AUTOTUNE, ROWS, judged

    AUTOTUNE.extend([True] * asked.autotune)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    surroundings = {**about(device, rounds), "autotuned": asked.autotune}
    payload: dict[str, Any] = {**surroundings, "ceilings": ceilings(rounds, device), "left_out": []}
    results = {} if asked.dry else recorded(NAME, **surroundings).get("rows", {})
    for name, row in ROWS.items():
        if asked.only not in name or name in results:
            continue
        if time.monotonic() > ends:
            payload["left_out"].append(name)
            continue
        with cleared(device):
            results[name] = judged(row, measured(row, device, asked.dry, rounds, payload["ceilings"]))
        if asked.dry:
            continue
        print(name, json.dumps({"best": results[name]["best"], "bars": results[name]["bars"]}), flush=True)
        record(NAME, {**payload, "rows": results})
        if lost(device):
            raise SystemExit(AGAIN)
    if asked.dry:
        print(json.dumps({**payload, "rows": results}, indent=2, allow_nan=False))
    if differ := wrong(results):
        raise SystemExit("strays from float32 or does not run: " + "; ".join(differ))


if __name__ == "__main__":
    main()
