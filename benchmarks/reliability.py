"""The guarantees of docs/guarantees.md tried at length, by the trials that the tests run in short (tests/indexer/trials/).

Run: python benchmarks/reliability.py [kills calls power damage memory publishing] [--kills 200] [--sweeps 6] [--states 3000]
[--trials 10000] [--seconds 300] [--seed 0] [--lists]. Each trial is recorded as results/reliability-NAME.json as soon as it ends, that of
indexes searched by inverted lists (--lists) as reliability-lists-NAME.json; the exit code is 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from common import record

TRIALS = Path(__file__).parents[1] / "tests" / "indexer" / "trials"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def tried(script: str, options: list[str]) -> dict[str, Any]:
    """Run a trial and return what it says, with the seconds that it took."""
    began = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(TRIALS / f"{script}.py"), folder, *options]
        done = subprocess.run(command, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True)
    return {**json.loads(done.stdout), "seconds_taken": round(perf_counter() - began, 1)}


def main() -> int:
    """Run the trials that were named, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--sweeps", type=int, default=6)
    parser.add_argument("--states", type=int, default=3000)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lists", action="store_true")
    args = parser.parse_args()
    lists = ["--lists"] if args.lists else []
    seed = ["--seed", str(args.seed)]
    trials = {
        "kills": ("killing", ["--kills", str(args.kills), *seed]),
        "calls": ("failing", ["--sweeps", str(args.sweeps)]),
        "power": ("losing", ["--states", str(args.states), *seed]),
        "damage": ("damaging", ["--trials", str(args.trials), "--pieces", str(args.trials // 50), *seed]),
        "memory": ("starving", ["--step-mib", "2"]),
        "publishing": ("publishing", ["--seconds", str(args.seconds), *seed]),
    }
    wrong = 0
    for name in args.names or trials:
        script, options = trials[name]
        said = tried(script, [*options, *lists])
        record(f"reliability-{'lists-' if lists else ''}{name}", said)
        wrong += len(said["wrong"])
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
