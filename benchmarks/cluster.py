"""What the cluster machinery costs, and what a second worker brings: photos answered and tiles described, in six ways in turn.

python benchmarks/cluster.py INDEX PHOTOS [--ray] [--rounds 5] [--only photos|tiles] [--photos N] [--tiles N]

alone:    one process of its own that does all of it, by `run_batch` with one worker or a plain loop over tiles
two:      two such processes that do half each and know nothing of one another: what this machine itself gains from a second worker, since
          two virtual processors may be two threads of one core
local-1, local-2, ray-1, ray-2:  a driver of its own each, with one and two workers of `--cluster local`, and of Ray clusters of one node
          with one and two processors, which are started for it in namespaces of their own (root; tests/helpers/ray_clusters.py)

Everything computes with one thread a process; all processes at once take about 10 GB. Models and engines are opened before, and each way
does all the work once before it counts; what starting costs is told by itself. Ways are taken in turn, in another order each round;
medians count. Answers of all ways must be the same. INDEX and PHOTOS are as `geo index build` and `geo town make` make them. Recorded as
results/cluster-photos.json and cluster-tiles.json; the exit code is 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import cluster_work as work  # first of all: it says with how many threads
from common import record, spread

from crossgeo.engine.batch import photos_in
from crossgeo.indexer.index import GeoIndex

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
from ray_clusters import three_nodes

MOST_OVERHEAD, LEAST_SCALING = 1.15, 1.7
WHAT = "the same work done by one process, two that know nothing of one another, and one and two workers of a cluster"
ASKED = {"overhead_at_most": MOST_OVERHEAD, "scaling_at_least": LEAST_SCALING}
Way = Callable[[], list[str]]  # does all the work; returns digests of what came out


class Process:
    """A process that does work by itself (`cluster_work.main`)."""

    def __init__(self, words: Sequence[str], start: Callable[..., subprocess.Popen[str]] = subprocess.Popen) -> None:
        pipe = subprocess.PIPE
        self._child = start([sys.executable, str(Path(work.__file__)), *words], stdin=pipe, stdout=pipe, text=True)
        self.answer()

    def begin(self, first: int, step: int) -> None:
        """Have it do each `step`-th part of the work from `first` on."""
        assert self._child.stdin is not None
        self._child.stdin.write(f"{first} {step}\n")
        self._child.stdin.flush()

    def answer(self) -> list[str]:
        """Wait for what it says."""
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit(f"a process ended with code {self._child.wait()}")
        return line.split()

    def close(self) -> None:
        """End it."""
        self._child.communicate()  # it ends with its input


def main() -> int:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("photos_folder", type=Path, metavar="PHOTOS")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("photos", "tiles"))
    parser.add_argument("--photos", type=int)
    parser.add_argument("--tiles", type=int)
    args = parser.parse_args()
    index, photos = args.index.absolute(), args.photos_folder.absolute()
    met = True
    for kind in ("photos", "tiles") if args.only is None else (args.only,):
        found = measured(kind, index, photos, args)
        met &= found["met"]
        record(f"cluster-{kind}", {"what": WHAT, "threads": "one a process", "asked": ASKED, **found})
    return int(not met)


def measured(kind: str, index: Path, photos: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Take all ways in turn, and say what came out."""
    with ExitStack() as opened:
        count = counted(kind, index, photos, args)
        ways = ways_of(kind, opened, index, photos, count, args.ray)
        first_s, seconds = {}, {name: list[float]() for name in ways}
        digests = set()
        for number in range(-1, args.rounds):
            turn = max(number, 0) % len(ways)
            for name in [*ways][turn:] + [*ways][:turn]:
                began = perf_counter()
                digests.add(tuple(ways[name]()))
                took = perf_counter() - began
                print(f"{kind}, round {number + 1}: {name} {took:.2f} s", file=sys.stderr, flush=True)
                if number < 0:
                    first_s[name] = round(took, 2)
                else:
                    seconds[name].append(took)
    middle = {name: median(taken) for name, taken in seconds.items()}
    machine = middle["alone"] / middle["two"]
    clusters = {name.rpartition("-")[0] for name in ways if "-" in name}
    overhead = {name: round(middle[f"{name}-1"] / middle["alone"], 3) for name in sorted(clusters)}
    scaling = {name: round(middle[f"{name}-1"] / middle[f"{name}-2"], 3) for name in sorted(clusters)}
    return {
        "count": count, "rounds": args.rounds, "same_from_all": len(digests) == 1, "machine_gains_from_two": round(machine, 3),
        "overhead": overhead, "scaling": scaling, "scaling_of_the_machines": {k: round(v / machine, 3) for k, v in scaling.items()},
        "met": len(digests) == 1 and max(overhead.values()) <= MOST_OVERHEAD and min(scaling.values()) >= LEAST_SCALING,
        "seconds": {name: spread(taken, 3) for name, taken in seconds.items()}, "first_pass_s": first_s,
    }  # fmt: skip


def counted(kind: str, index: Path, photos: Path, args: argparse.Namespace) -> int:
    """Return how many photos or tiles there are to do; tiles in whole pairs of shards, so that halves are equal."""
    if kind == "photos":
        return min(len(photos_in(photos)), args.photos or 1_000_000)
    with GeoIndex.open(index) as opened:
        return min(len(opened), args.tiles or len(opened)) // (2 * work.SHARD) * 2 * work.SHARD


def ways_of(kind: str, opened: ExitStack, index: Path, photos: Path, count: int, ray: bool) -> dict[str, Way]:
    """Open every way to do the work."""
    words = [kind, str(index), str(photos), str(count)]
    processes = [opened.enter_context(closing(Process(words))) for _ in range(2)]
    ways: dict[str, Way] = {"alone": partial(together, processes[:1]), "two": partial(together, processes)}
    for workers in (1, 2):
        driver = opened.enter_context(closing(Process([*words, "local", str(workers)], on_processors(workers))))
        ways[f"local-{workers}"] = partial(together, [driver])
    for workers in (1, 2) if ray else ():
        short = opened.enter_context(tempfile.TemporaryDirectory(prefix="geo", dir="/tmp"))  # Ray has sockets there
        cluster = opened.enter_context(three_nodes(Path(short), nodes=1, cpus=workers))
        driver = opened.enter_context(closing(Process([*words, cluster.address, str(workers)], cluster.start)))
        ways[f"ray-{workers}"] = partial(together, [driver])
    return ways


def on_processors(count: int) -> Callable[..., subprocess.Popen[str]]:
    """Return what starts a process that sees so many processors: a lone worker would compute with as many threads as there are."""
    seen = ",".join(map(str, sorted(os.sched_getaffinity(0))[:count]))
    return lambda command, **how: subprocess.Popen(["taskset", "-c", seen, *command], **how)


def together(processes: Sequence[Process]) -> list[str]:
    """Have processes do an equal part each, at once; return the digests of all parts in their order."""
    for number, process in enumerate(processes):
        process.begin(number, len(processes))
    said = [process.answer() for process in processes]
    out = [""] * sum(map(len, said))
    for number, some in enumerate(said):
        out[number :: len(processes)] = some
    return out


if __name__ == "__main__":
    sys.exit(main())
