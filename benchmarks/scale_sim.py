"""The simulated cluster held against builds that were run, and then let loose on a hundred million tiles and a billion.

python benchmarks/scale_sim.py [check] [project] [--work DIR] [--sides-m 700 1000] [--stride-m 10] [--kill-every-s 20] [--seed 0]

check: each way of building (one and two local workers; three Ray nodes of one processor each, which needs root) builds a small town, whose
shards' times feed the simulation, then a larger one, calm and with workers killed at random moments; the simulation says how long those two
take before their times are looked at. project: what builds and services take past these machines, from the recorded shards' times of one
local worker and from searches recorded in results/; all of that is simulated. Recorded as results/scale-sim-{check,project}.json.
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
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from common import RESULTS, record
from simulated_cluster import Fleet, Machines, Run, Stage, serve, simulate

from crossgeo.indexer.plan_cluster import DriverRates, lists_s
from crossgeo.indexer.shards import TILES

SEEDS = 200  # of simulated runs whose mean is what is foretold
STAGES = "cut", "describe"
TOWN, GSD_M = 9_210, 0.2
DRIVER = DriverRates(2.9e8, 1.2e9)  # by plan_cluster.measure_driver, here: 280 to 307 and 1,151 to 1,226 MB/s of four tries
ROW_BYTES, TILE_BYTES = (
    3072,
    3072 + 442 + 2230,
)  # of a tile: its descriptor; with lists (search-10000000.json) and imagery, too
BUILDS = {1e8: 1, 1e9: 5}  # one after the other: one of more than 20 million blocks is refused
WAYS = {"local, 1 worker": 1, "local, 2 workers": 2, "Ray, 3 nodes": 3}
Start = Callable[[list[str]], "subprocess.Popen[str]"]


class Watched:
    """A cluster that keeps when its runs began and ended, and each shard's end and seconds."""

    def __init__(self, cluster: Any) -> None:
        self._cluster, self.runs = cluster, {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def run(self, job: Any, shards: Iterable[Any], stop: Any = None) -> Generator[Any, None, None]:
        """Run the job, and keep how it went."""
        log = self.runs[job.name] = {"began": time.time(), "shards": [], "died": 0}
        for outcome in self._cluster.run(job, shards, stop):
            log["shards"].append({"at": time.time(), "seconds": outcome.seconds, "node": outcome.node, "size": outcome.shard.size})
            yield outcome


def build(source: Path, out: Path, where: str, workers: int, stride_m: float) -> None:
    """Build an index, in a process of its own, and print how it went."""
    from crossgeo.engine.build import Helpers, build_index
    from crossgeo.engine.cluster import open_cluster
    from crossgeo.engine.runtime.choose import RuntimeOptions
    from crossgeo.indexer.build import BuildOptions

    began = time.time()
    with open_cluster(where, workers if where == "local" else None) as cluster:
        watched = Watched(cluster)
        options, runtime = BuildOptions(stride_m=stride_m), RuntimeOptions(build=True)
        manifest = build_index(source, out, options=options, runtime=runtime, helpers=Helpers(watched))
        ended = time.time()
    print(json.dumps({"began": began, "ended": ended, "tiles": manifest.tiles, "runs": watched.runs}))


@dataclass(frozen=True)
class Times:
    """What one build shows, as the simulation takes it."""

    tiles: int
    seconds: float
    begin_s: float
    stages: dict[str, Stage]
    sizes: dict[str, float]  # of a stage's shards, on average


def times_of(log: dict[str, Any]) -> Times:
    """Cut a build's log into what workers and what the driver did."""
    runs = [log["runs"][name] for name in STAGES]
    ends = [*(run["began"] for run in runs[1:]), log["ended"]]
    stages, sizes = {}, {}
    for name, run, end in zip(STAGES, runs, ends, strict=True):
        shards = run["shards"]
        first, last = min(s["at"] - s["seconds"] for s in shards), max(s["at"] for s in shards)
        stages[name] = Stage(name, len(shards), [s["seconds"] for s in shards], max(0.0, first - run["began"]), after_s=end - last)
        sizes[name] = mean(s["size"] for s in shards)
    return Times(log["tiles"], log["ended"] - log["began"], runs[0]["began"] - log["began"], stages, sizes)


def foretold(fed: Times, log: dict[str, Any], workers: int, kills: Sequence[float]) -> tuple[float, list[Run]]:
    """Return how long a build should take by another one's times, and the simulated runs; of its own log only counts are looked at.

    `kills` says when a worker was killed, in seconds since the build began.
    """
    stages = []
    for name in STAGES:
        known, shards = fed.stages[name], log["runs"][name]["shards"]
        size = mean(s["size"] for s in shards) / fed.sizes[name]
        after_s = known.after_s * (len(shards) / known.shards) * size
        stages.append(Stage(name, len(shards), [s * size for s in known.seconds], known.start_s, after_s=after_s))
    # A process is killed, not a machine: another is there as soon as the first one was, and then loads what its stage needs.
    machines = Machines(workers, 1, fed.begin_s, deaths=kills, back_s=fed.stages["cut"].start_s, noticed_s=0.2)
    runs = [simulate(stages, machines, np.random.default_rng(seed)) for seed in range(SEEDS)]
    return mean(run.seconds for run in runs), runs


def towns(work: Path, sides_m: Sequence[float]) -> list[Path]:
    """Return orthophotos of towns, made unless they are there."""
    from crossgeo.town.aerial import render_ortho
    from crossgeo.town.layout import make_town
    from crossgeo.town.write import ortho_scene_of, write_ortho

    out = []
    for number, side_m in enumerate(sides_m):
        path = work / f"{side_m:g}.tif"
        if not path.exists():
            town = make_town(TOWN + number, side_m)
            write_ortho(path, town, render_ortho(town, ortho_scene_of(np.random.default_rng([TOWN, number])), GSD_M), GSD_M)
        out.append(path)
    return out


@contextmanager
def started(way: str) -> Iterator[tuple[Start, str, Callable[[subprocess.Popen[str]], list[int]]]]:
    """Give what starts a build, what its cluster is called, and what finds its workers."""
    if way.startswith("local"):
        yield lambda command: subprocess.Popen(command, stdout=subprocess.PIPE, text=True), "local", children
        return
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
    from ray_clusters import three_nodes

    folder = Path(tempfile.mkdtemp(prefix="geo", dir="/tmp"))  # short: Ray puts sockets below it
    try:
        with three_nodes(folder) as cluster:
            yield lambda command: cluster.start(command, stdout=subprocess.PIPE), cluster.address, lambda _: cluster.workers()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def children(process: subprocess.Popen[str]) -> list[int]:
    """Return the worker processes below a driver here."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, rest = int(status.parent.name), status.read_text().rsplit(")", 1)[1].split()
            if int(rest[1]) == process.pid and b"cluster.child" in (status.parent / "cmdline").read_bytes():
                found.append(pid)
    return found


def run_build(way: str, source: Path, work: Path, stride_m: float, every_s: float, seed: int) -> tuple[dict[str, Any], list[float]]:
    """Build in a process of its own, killing a worker every so often; return its log and when they were killed."""
    out = work / "a.geo"
    shutil.rmtree(out, ignore_errors=True)
    rng, killed = random.Random(seed), list[float]()
    with started(way) as (start, where, workers_of):
        command = [sys.executable, __file__, "build", str(source), str(out), where, str(WAYS[way]), str(stride_m)]
        process = start(command)
        while every_s and process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.expovariate(1.0 / every_s))
            if process.poll() is None and (victims := workers_of(process)):
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(victims), signal.SIGKILL)
                    killed.append(time.time())
        said, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"a build by {way} ended with code {process.returncode}")
    log = json.loads(said.strip().splitlines()[-1])
    return log, [when - log["began"] for when in killed]


def check(args: argparse.Namespace) -> dict[str, Any]:
    """Foretell builds and run them."""
    small, large = towns(args.work, args.sides_m)
    rows, fed_by = [], {}
    for way, workers in WAYS.items():
        run_build(way, small, args.work, args.stride_m, 0.0, args.seed)  # engines are built, files are read
        log, _ = run_build(way, small, args.work, args.stride_m, 0.0, args.seed)
        fed = times_of(log)
        fed_by[way] = {name: [round(s, 3) for s in stage.seconds] for name, stage in fed.stages.items()}
        for every_s in (0.0, args.kill_every_s):
            ran, killed = run_build(way, large, args.work, args.stride_m, every_s, args.seed)
            said, runs = foretold(fed, ran, workers, killed)
            took = ran["ended"] - ran["began"]
            between = [round(end(run.seconds for run in runs), 1) for end in (min, max)]
            rows.append({
                "way": way, "tiles": ran["tiles"], "killed_at_s": [round(when, 1) for when in killed],
                "measured_s": round(took, 1), "simulated_s": round(said, 1), "error": round(said / took - 1.0, 3),
                "simulated_spread_s": between,
            })  # fmt: skip
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return {"asked": "within 15 %", "greatest_error": max(abs(row["error"]) for row in rows), "rows": rows, "fed_by": fed_by}


def project(args: argparse.Namespace) -> dict[str, Any]:
    """Simulate builds and services of sizes that no machine here has room for."""
    fed = json.loads((RESULTS / "scale-sim-check.json").read_text())["fed_by"]["local, 1 worker"]["describe"]
    per_tile_s = median(fed) / 256  # shards of the small town are of 256 tiles
    shard_s = [s / median(fed) * per_tile_s * TILES for s in fed]
    builds = []
    for tiles, nodes in ((1e8, 16), (1e8, 64), (1e8, 256), (1e9, 64), (1e9, 256), (1e9, 1024)):
        for fails, stalls in ((0.0, 0.0), (1 / 720, 0.001), (1 / 24, 0.01)):
            shards = round(tiles / TILES)
            alone_s = lists_s(tiles, BUILDS[tiles]) + tiles * (ROW_BYTES + TILE_BYTES) / DRIVER.check  # rows for the lists, all at the end
            stage = Stage("describe", shards, shard_s, 30.0, TILES * ROW_BYTES / DRIVER.take_in, after_s=alone_s)
            runs = [
                simulate([stage], Machines(nodes, 1, 10.0, fails, stalls=stalls), np.random.default_rng([args.seed, n])) for n in range(3)
            ]
            builds.append({
                "tiles": tiles, "nodes": nodes, "fails_per_node_hour": round(fails, 5), "stalls": stalls,
                "hours": round(mean(r.seconds for r in runs) / 3600.0, 2), "failures": round(mean(r.failures for r in runs), 1),
                "given_out_again": round(mean(r.done_again for r in runs), 1),
                "workers_busy": round(mean(r.busy_s / (r.seconds * nodes) for r in runs), 3),
            })  # fmt: skip
    single = json.loads((RESULTS / "search-1000000.json").read_text())["results"]["crossgeo"]["single_ms"]
    answer_ms = np.interp(
        np.linspace(0, 1, 200), [0, 0.5, 0.95, 1], [0.8 * single["p50"], single["p50"], single["p95"], 2 * single["p95"]]
    ).tolist()
    services = []
    for tiles in (1e8, 1e9):
        for replicas in (1, 2, 3):
            for touched in (4, round(tiles / 1e6)):
                fleet = Fleet(round(tiles / 1e6), replicas, touched, answer_ms, 0.0, 50.0, 500.0, fails_per_hour=1 / 24, stalls=1e-4)
                found = serve(fleet, 20_000, np.random.default_rng([args.seed, 7]))
                services.append(
                    {"tiles": tiles, "replicas": replicas, "shards_asked": touched, **{k: round(v, 5) for k, v in vars(found).items()}}
                )
    return {
        "simulated": "all of it", "seconds_of_a_shard": round(median(shard_s), 2), "driver_bytes_per_s": vars(DRIVER),
        "builds": builds, "services": services,
    }  # fmt: skip


def main() -> None:
    """Do what was named, or all."""
    if sys.argv[1:2] == ["build"]:
        source, out, where, workers, stride_m = sys.argv[2:]
        build(Path(source), Path(out), where, int(workers), float(stride_m))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[])
    parser.add_argument("--work", type=Path, default=Path("runs/scale"))
    parser.add_argument("--sides-m", type=float, nargs=2, default=(700.0, 1000.0))
    parser.add_argument("--stride-m", type=float, default=10.0)
    parser.add_argument("--kill-every-s", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    for name, part in (("check", check), ("project", project)):
        if name in (args.parts or ("check", "project")):
            record(f"scale-sim-{name}", part(args))


if __name__ == "__main__":
    main()
