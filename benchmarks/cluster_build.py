"""Indexes built on clusters: the same bytes as in one process, whatever is killed meanwhile, and what spreading costs and saves.

Run: python benchmarks/cluster_build.py [same kills partition speed] [--data DIR] [--town DIR] [--only-town] [--work DIR]
[--stride-m 15] [--runs 20] [--rounds 3] [--seed 0]. The imagery is Banepa's and Zanzibar's of the data folder, and a simulated
town of a square kilometre, which is made where --town names no folder with an ortho.tif. Clusters are of this machine: processes (`local`),
and a Ray cluster of three nodes with one processor each in namespaces of its own, which needs root (tests/helpers/ray_clusters.py).

same: one process, `local`, and Ray build the same manifest hash. kills: on Ray, in each run a worker, a node or the driver is killed (or
the driver interrupted) at a random moment of the build; a driver that ended is given the same command again, a node is started again, by
turns on Ray, on processes here and in one process, until the index is there; its hash must be that of an unbroken build, and nothing may
be left over. partition: a node that is at work is cut off in the middle and healed after the end; it must be given up, and the build must
end at the same hash, at most a minute later than two of three nodes would have. speed: seconds of one process, of one local worker on one
processor and two on two, and of a Ray node with one processor and with two, in turns, what starting takes included. Each is recorded as
results/cluster-build-NAME.json; the exit code is 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ground_truth
from common import record, spread

from crossgeo.town.write import write_town

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
from ray_clusters import HEAD, TestCluster, apart, three_nodes

TOWN, TOWN_M = 9_200, 1000.0
LEFT = {"CURRENT", "LOCK", "segments", "manifest-000001.json"}
CUT = 2  # the node that is cut off
TRIES = 12  # commands that may be needed to get through one run

Start = Callable[[list[str]], "subprocess.Popen[str]"]


class Builder:
    """Gives the command that builds the index, again and again."""

    def __init__(self, sources: list[Path], work: Path, stride_m: float) -> None:
        self.out = work / "a.geo"
        self._command = ["index", "build", *map(str, sources), "--out", str(self.out), "--stride-m", str(stride_m), "--json"]

    def fresh(self) -> None:
        """Forget what was built."""
        shutil.rmtree(self.out, ignore_errors=True)

    def command(self, *more: str) -> list[str]:
        """Return the command."""
        return [sys.executable, "-m", "crossgeo", *self._command, *more]

    def build(self, start: Start, *more: str) -> tuple[str, float]:
        """Build afresh; return the hash and the seconds."""
        self.fresh()
        began = time.monotonic()
        process = start(self.command(*more))
        said, errors = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(errors)
        return str(json.loads(said)["manifest_sha256"]), time.monotonic() - began


def here(command: list[str]) -> subprocess.Popen[str]:
    """Start a command on this machine."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def on_one_processor(command: list[str]) -> subprocess.Popen[str]:
    """Start a command on this machine that sees one processor of it: a lone worker would compute with all."""
    one = str(min(os.sched_getaffinity(0)))
    return here(["taskset", "-c", one, *command])


@contextmanager
def ray(nodes: int = 3, cpus: int = 1, wired: bool = False) -> Iterator[tuple[TestCluster, Start]]:
    """Have a Ray cluster, its nodes `wired` where they are to be cut off, and what starts a command where its head is."""
    folder = Path(tempfile.mkdtemp(prefix="geo", dir="/tmp"))  # short: Ray puts sockets below it
    try:
        with (apart if wired else three_nodes)(folder, nodes, cpus) as cluster:
            yield cluster, lambda command: cluster.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def same(builder: Builder, _: argparse.Namespace) -> dict[str, Any]:
    """Build in every way and compare the hashes."""
    ways = {"one process": builder.build(here), "local, 2 processes": builder.build(here, "--cluster", "local", "--workers", "2")}
    with ray() as (cluster, start):
        ways["Ray, 3 nodes"] = builder.build(start, "--cluster", cluster.address)
    hashes = {made for made, _ in ways.values()}
    return {"hashes": sorted(hashes), "seconds": {way: round(s, 1) for way, (_, s) in ways.items()}, "wrong": sorted(hashes)[1:]}


def kills(builder: Builder, args: argparse.Namespace) -> dict[str, Any]:
    """Kill, go on and compare, run after run."""
    rng, runs, wrong = random.Random(args.seed), [], []
    wanted, _ = builder.build(here)
    with ray() as (cluster, start):
        _, longest_s = builder.build(start, "--cluster", cluster.address)
        for number in range(args.runs):
            run = killed(builder, cluster, start, rng.choice(("worker", "node", "driver", "interrupt")), rng, longest_s)
            runs.append(run)
            if run["hash"] != wanted or run["left"]:
                wrong.append({"run": number, **run})
            print(json.dumps(run), file=sys.stderr, flush=True)
    by_kind = {kind: sum(run["kind"] == kind for run in runs) for kind in sorted({run["kind"] for run in runs})}
    return {"seed": args.seed, "runs": len(runs), "unbroken_s": round(longest_s, 1), "killed": by_kind, "tried": runs, "wrong": wrong}


def killed(builder: Builder, cluster: TestCluster, start: Start, kind: str, rng: random.Random, longest_s: float) -> dict[str, Any]:
    """Kill something at a random moment of a build, then give the same command until it ends well; return what came of it."""
    builder.fresh()
    ways: list[tuple[Start, tuple[str, ...]]] = [
        (start, ("--cluster", cluster.address)), (here, ("--cluster", "local", "--workers", "2")), (here, ()),
    ]  # fmt: skip
    process, begun = start(builder.command(*ways[0][1])), time.monotonic()
    after_s = rng.uniform(1.0, 0.95 * longest_s)
    with suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
    down, early = None, process.poll() is not None
    if not early:
        down = kill(cluster, kind, rng)
    ended = [finish(process)]
    if down is not None:
        cluster.start_node(down)
    while ended[-1][0] != 0 and len(ended) < TRIES:
        starts, more = rng.choice(ways)
        ended.append(finish(starts(builder.command(*more))))
    made = json.loads(ended[-1][1])["manifest_sha256"] if ended[-1][0] == 0 else ended[-1][2]
    left = sorted({path.name for path in builder.out.iterdir()} ^ LEFT) + [path.name for path in builder.out.rglob("*.tmp")]
    took_s = round(time.monotonic() - begun, 1)
    return {
        "kind": kind,
        "after_s": round(after_s, 2),
        "ended_before": early,
        "codes": [e[0] for e in ended],
        "took_s": took_s,
        "hash": made,
        "left": left,
    }


def kill(cluster: TestCluster, kind: str, rng: random.Random) -> int | None:
    """Kill a worker, a node (whose number is returned) or the driver."""
    if kind == "node":
        node = rng.choice([number for number in range(len(cluster.addresses)) if number != HEAD])
        cluster.kill(node)
        return node
    victims = rng.sample(found := cluster.workers(), min(1, len(found))) if kind == "worker" else cluster.drivers(" index build ")
    for victim in victims:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGINT if kind == "interrupt" else signal.SIGKILL)
    return None


def partition(builder: Builder, args: argparse.Namespace) -> dict[str, Any]:
    """Cut a node off in the middle of a build and heal it after the end; compare time and hash with a build that nothing happened to."""
    with ray(wired=True) as (cluster, start):
        wanted, unbroken_s = builder.build(start, "--cluster", cluster.address)
        builder.fresh()
        began = time.monotonic()
        process = start(builder.command("--cluster", cluster.address))
        time.sleep(unbroken_s / 2)
        busy = len(cluster.workers(CUT))
        cluster.cut(CUT)
        cut_s = time.monotonic() - began
        given_up_s = until_given_up(cluster)
        code, said, errors = finish(process)
        took_s = time.monotonic() - began
        cluster.heal(CUT)
        time.sleep(30.0)  # for what the healed node may still write
        verified = start([sys.executable, "-m", "crossgeo", "index", "verify", str(builder.out)])
        whole, _, problems = finish(verified)
    made = json.loads(said)["manifest_sha256"] if code == 0 else errors
    without_s = cut_s + 1.5 * max(0.0, unbroken_s - cut_s)  # as two nodes of three would go on
    late_s = took_s - without_s
    left = sorted({path.name for path in builder.out.iterdir()} ^ LEFT)
    fine = code == 0 and made == wanted and late_s <= 60.0 and whole == 0 and not left and busy > 0 and given_up_s is not None
    seconds = {"unbroken": unbroken_s, "cut_at": cut_s, "took": took_s, "two_of_three_nodes_would": without_s, "lost_beyond": late_s}
    return {
        "seconds": {name: round(value, 1) for name, value in seconds.items()}, "workers_cut_off": busy, "given_up_within_s": given_up_s,
        "wrong": [] if fine else [[code, made, wanted, left, problems]],
    }  # fmt: skip


def until_given_up(cluster: TestCluster, most_s: float = 60.0) -> float | None:
    """Return the seconds until the cluster says that it has a node less, None where it never does."""
    began = time.monotonic()
    while time.monotonic() - began < most_s:
        status = cluster.run([sys.executable, "-m", "crossgeo", "cluster", "status", cluster.address, "--json"])
        if status.stdout and len(json.loads(status.stdout)["nodes"]) < len(cluster.addresses):
            return round(time.monotonic() - began, 1)
    return None


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a command; return its exit code and what it said."""
    said, errors = process.communicate(timeout=3600)
    return process.returncode, said, errors


def speed(builder: Builder, args: argparse.Namespace) -> dict[str, Any]:
    """Time every way in turns."""
    seconds: dict[str, list[float]] = {}
    hashes: set[str] = set()

    def timed(way: str, start: Start, *more: str) -> None:
        made, took_s = builder.build(start, *more)
        hashes.add(made)
        seconds.setdefault(way, []).append(took_s)
        print(f"{way}: {took_s:.1f} s", file=sys.stderr, flush=True)

    for _ in range(args.rounds):
        timed("one process", here)
        timed("local, 1", on_one_processor, "--cluster", "local", "--workers", "1")
        timed("local, 2", here, "--cluster", "local", "--workers", "2")
        for cpus in (1, 2):
            with ray(1, cpus) as (cluster, start):
                timed(f"Ray, 1 node, {cpus}", start, "--cluster", cluster.address)
    found = {way: spread(took, 1) for way, took in seconds.items()}
    middle = {way: told["median"] for way, told in found.items()}
    return {
        "seconds": found,
        "local_2_over_1": round(middle["local, 1"] / middle["local, 2"], 2),
        "ray_2_over_1": round(middle["Ray, 1 node, 1"] / middle["Ray, 1 node, 2"], 2),
        "ray_over_local": round(middle["Ray, 1 node, 2"] / middle["local, 2"], 2),
        "wrong": sorted(hashes)[1:],
    }


def main() -> int:
    """Do what was named, or all."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background, and its children, would ignore it
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--data")
    parser.add_argument("--town", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--stride-m", type=float, default=15.0)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only-town", action="store_true")
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp(prefix="geo-build-"))
    town = args.town or work / "town"
    if not (town / "ortho.tif").is_file():
        write_town(town, TOWN, TOWN_M, photos=1)
    sources = [town / "ortho.tif"]
    if not args.only_town:
        data = ground_truth.data_folder(args.data)
        sources = [data / "oam_banepa" / "tiles_z19", data / "oam_zanzibar", *sources]
    builder, wrong = Builder(sources, work, args.stride_m), 0
    ways = {"same": same, "kills": kills, "partition": partition, "speed": speed}
    for name in args.names or ways:
        found = ways[name](builder, args)
        record(f"cluster-build-{name}", {"imagery": [path.name for path in sources], "stride_m": args.stride_m, **found})
        wrong += len(found["wrong"])
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
