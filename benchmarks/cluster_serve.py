"""Questions to an index whose rows other processes hold, while these are killed, stand still, and a new generation comes.

python benchmarks/cluster_serve.py [--cluster local|ray] [--kills 10] [--still-s 10] [--tiles 130] [--deadline-s 2] [--seed 0]

The place and the model are those of the engine's tests (colours of a grid, no training); the answers are asked for one after the other and
held against those of one process, key by key. `ray` is a cluster of three nodes on this machine (tests/helpers/ray_clusters.py). Of each
death: how long until every replica answers again, counted from the signal, and what answers were like meanwhile. Recorded as
results/cluster-serve-local.json or cluster-serve-ray.json; the exit code is 1 where an answer was wrong: neither that of one process nor
flagged as partial.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from common import record, spread

from crossgeo.indexer.add import AddOptions, add_to_index
from crossgeo.indexer.build import BuildOptions, build_index

HELPERS = Path(__file__).parents[1] / "tests" / "helpers"
sys.path.append(str(HELPERS))
import ray_clusters  # noqa: E402
import standin  # noqa: E402

UNSURE = ("low_confidence", "outside_coverage")
LONGEST_S = 120.0


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cluster", choices=("local", "ray"), default="local")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--still-s", type=float, default=10.0)
    parser.add_argument("--tiles", type=int, default=130)
    parser.add_argument("--deadline-s", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="cs", dir="/tmp") as made:
        folder = Path(made)
        prepare(folder)
        with serving(args.cluster, folder, args.tiles, args.deadline_s) as watch:
            opened_s = watch.whole_again()
            quiet = watch.during(lambda: time.sleep(5.0))
            kills = [watch.after(lambda: kill([rng.choice(watch.holders())])) for _ in range(args.kills)]
            every = [watch.after(lambda: kill(watch.holders())) for _ in range(3)]
            still = watch.during(lambda: stand_still(rng.choice(watch.holders()), args.still_s))
            watch.whole_again()
            began = time.monotonic()
            swap = watch.during(lambda: watch.next_generation(folder))
            swap_s = time.monotonic() - began
            said = watch.said
    wrong = sum(is_wrong(line) for line in said)
    record(
        f"cluster-serve-{args.cluster}",
        {
            "what": "one question after the other to an index spread over processes that die, stand still, or change",
            "areas": said[-1]["shards"], "replicas": said[-1]["replicas"], "deadline_s": args.deadline_s, "answers": len(said),
            "partial": sum(line["missing"] > 0 for line in said), "wrong": wrong, "opened_s": round(opened_s, 1), "quiet": quiet,
            "one_killed": {"times": len(kills), "whole_again_s": spread([one["whole_again_s"] for one in kills], 2), **together(kills)},
            "all_killed": {"times": len(every), "whole_again_s": spread([one["whole_again_s"] for one in every], 2), **together(every)},
            "one_still": {"seconds": args.still_s, **still}, "new_generation": {"seconds": round(swap_s, 1), **swap},
        },
    )  # fmt: skip
    return int(wrong > 0)


def prepare(folder: Path) -> None:
    """Index the place of the tests."""
    tests = standin.shared()
    describer = tests.ColourDescriber()
    tests.write_ortho(folder / "ortho.tif", tests.patchwork(1, round(tests.SIDE_M / tests.GSD_M)))
    options = BuildOptions(gsd_m=tests.GSD_M, tile_px=96)
    build_index([folder / "ortho.tif"], folder / "place.geo", describer.tiles, describer.identity, options)


@contextmanager
def serving(where: str, folder: Path, tiles: int, deadline_s: float) -> Iterator[Watch]:
    """Start who asks, and those who are asked."""
    command = [sys.executable, str(HELPERS / "answering_spread.py"), str(folder / "place.geo"), str(folder / "shelf")]
    end = [str(tiles), str(deadline_s)]
    if where == "local":
        process = subprocess.Popen([*command, "local", *end], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        yield from watched(process, lambda: children(process.pid))
        return
    with ray_clusters.three_nodes(folder) as cluster:
        process = cluster.start([*command, cluster.address, *end], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        yield from watched(process, lambda: [pid for pid in cluster.workers() if "RayHost" in told(pid, "cmdline")])


def watched(process: subprocess.Popen[str], holders: Callable[[], list[int]]) -> Iterator[Watch]:
    """Watch who asks until the block is left, then have it end."""
    assert process.stdin is not None
    assert process.stdout is not None
    watch = Watch(process.stdout, holders)
    try:
        yield watch
        process.stdin.close()
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        watch.reading.join()
        process.stdout.close()


class Watch:
    """What was answered so far."""

    def __init__(self, out: IO[str], holders: Callable[[], list[int]]) -> None:
        self.said: list[dict[str, Any]] = []
        self.holders = holders
        self.reading = threading.Thread(target=lambda: self.said.extend(json.loads(line) for line in out if line.startswith("{")))
        self.reading.start()

    def until(self, true: Callable[[dict[str, Any]], object], since: int = 0) -> dict[str, Any]:
        """Wait for an answer, counted from `since`, of which something is true."""
        ends = time.monotonic() + LONGEST_S
        while time.monotonic() < ends:
            for line in self.said[since:]:
                since += 1
                if true(line):
                    return line
            time.sleep(0.01)
        raise SystemExit(f"waited for {LONGEST_S:g} s")

    def whole_again(self) -> float:
        """Wait until all replicas answer; return the seconds."""
        began = time.monotonic()
        self.until(lambda line: line["replicas_alive"] == line["replicas"], max(0, len(self.said) - 1))
        return time.monotonic() - began

    def during(self, act: Callable[[], object]) -> dict[str, Any]:
        """Return what answers were like while something happened."""
        first = len(self.said)
        act()
        return about(self.said[first:])

    def after(self, act: Callable[[], object]) -> dict[str, Any]:
        """Return how long something took to be mended, and what answers were like meanwhile."""
        first, began = len(self.said), time.time()
        act()
        noticed = self.until(lambda line: line["replicas_alive"] < line["replicas"], first)
        last = self.until(lambda line: line["replicas_alive"] == line["replicas"] and not line["missing"], self.said.index(noticed))
        return {"whole_again_s": last["at"] - began, **about(self.said[first:])}

    def next_generation(self, folder: Path) -> None:
        """Add imagery, and wait until it answers."""
        tests, first = standin.shared(), len(self.said)
        describer = tests.ColourDescriber()
        tests.write_ortho(folder / "more.tif", tests.patchwork(3, 80))
        add_to_index([folder / "more.tif"], folder / "place.geo", describer.tiles, describer.identity, AddOptions(over=True))
        self.until(lambda line: line["generation"] == 2, first)


def about(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what some answers were like."""
    took = [line["took"] for line in lines] or [0.0]
    return {
        "answers": len(lines), "partial": sum(line["missing"] > 0 for line in lines), "wrong": sum(is_wrong(line) for line in lines),
        "hedged": lines[-1]["hedged"] - lines[0]["hedged"] if lines else 0, "slowest_s": round(max(took), 2),
    }  # fmt: skip


def together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return them together."""
    added = {name: sum(part[name] for part in parts) for name in ("answers", "partial", "wrong", "hedged")}
    return {**added, "slowest_s": max(part["slowest_s"] for part in parts)}


def is_wrong(line: dict[str, Any]) -> bool:
    """Say whether an answer is neither that of one process nor flagged."""
    return not line["same"] and not (line["missing"] and line["status"] in UNSURE)


def kill(pids: list[int]) -> None:
    """End processes at once."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def stand_still(pid: int, seconds: float) -> None:
    """Stop a process for a while."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def children(pid: int) -> list[int]:
    """Return the processes of this machine that hold areas for another."""
    found = [int(child) for child in " ".join(told(pid, f"task/{task}/children") for task in tasks(pid)).split()]
    return [child for child in found if "crossgeo.engine.cluster.child" in told(child, "cmdline")]


def tasks(pid: int) -> list[str]:
    """Return the threads of a process, each of which may have started others."""
    return sorted(path.name for path in Path(f"/proc/{pid}/task").iterdir())


def told(pid: int, name: str) -> str:
    """Return what the system says of a process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_text().replace("\0", " ")
    return ""


if __name__ == "__main__":
    sys.exit(main())
