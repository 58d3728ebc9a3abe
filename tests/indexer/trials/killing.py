"""Kill the life of an index with SIGKILL at named points and at random moments, go on, and print what came of it as JSON.

Run: python killing.py FOLDER --kills 200 [--seed 0]. Half of the kills come at points spread over the whole life, half at random moments;
a third of them are killed once more while they go on. What must hold: whatever was acknowledged is there, whole, and answers as it did in
a life without a kill; the next step is not hindered by what the killed one left; and at the end no file is left over.
A process of its own, so that forking is safe: it starts no thread before it forks.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from forking import forked
from world import Step, ask, life, parsed, state, write_imagery

from crossgeo import disk

LEAST_MOMENTS_S = 0.001


def lived(out: Path, steps: Sequence[Step], acknowledged: Path) -> None:
    """Do the steps that are not acknowledged yet, in order, acknowledging each once it has returned."""
    for number in range(count(acknowledged), len(steps)):
        steps[number](out)
        with acknowledged.open("a") as file:
            file.write("done\n")


def count(acknowledged: Path) -> int:
    """Return how many steps were acknowledged."""
    return len(acknowledged.read_text().splitlines()) if acknowledged.exists() else 0


def dying(points: int, work: Callable[[], None]) -> Callable[[], None]:
    """Return `work` that kills its process at its n-th point, be it named or a call to the file system."""

    def dies() -> None:
        left = [points]

        def pass_one(*_: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        disk.FAULT = disk.CALL = pass_one
        work()

    return dies


def points_of(work: Callable[[], None]) -> list[str]:
    """Return the names of the points that `work` passes."""
    seen: list[str] = []
    disk.FAULT = seen.append
    disk.CALL = lambda kind, path, _: seen.append(f"{path.name}: {kind}")
    work()
    return seen


def tried(folder: Path, steps: Sequence[Step], oracle: Sequence[Any], kill: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Kill one life, look at what is left, go on to the end, and tell what came of it; `wrong` says what should not be."""
    out, acknowledged = folder / "a.geo", folder / "acknowledged"
    folder.mkdir()
    wrong: list[Any] = []

    def work() -> None:
        lived(out, steps, acknowledged)

    ended, _ = forked(work if kill["point"] is None else dying(kill["point"], work), kill["after_s"])
    again = rng.randrange(3) == 0
    for time_round in range(1 + again):
        done = count(acknowledged)
        allowed = [list(answer) for answer in oracle[max(0, done - 1) : done + 1]]
        looked, said = forked(lambda: ask(out))
        if looked != 0 or (said not in allowed and (done > 0 or said[0] != "InputError")):
            wrong.append(["after the kill", done, looked, said])
        if time_round < again:
            forked(dying(rng.randrange(120), work))
    resumed, failed = forked(lambda: told(work))
    if resumed != 0 or failed is not None:
        wrong.append(["going on", resumed, failed])
    else:
        looked, said = forked(lambda: [ask(out), state(out)])
        if looked != 0 or said[0] != list(oracle[-1]) or said[1] != [oracle[-1][1], [], []]:
            wrong.append(["at the end", looked, said])
    shutil.rmtree(folder)
    return {"at": kill["name"], "ended": ended, "again": bool(again), "wrong": wrong}


def told(work: Callable[[], None]) -> str | None:
    """Do the work; return the error that it raises as text."""
    try:
        work()
    except Exception as error:
        return repr(error)
    return None


def main() -> None:
    """Kill until there are as many as asked for that came before the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parsed(parser)
    rng = random.Random(args.seed)
    steps = life(write_imagery(args.folder))

    def unbroken(name: str) -> Callable[[], None]:
        return lambda: lived(args.folder / f"{name}.geo", steps, args.folder / name)

    oracle = []
    for number in range(len(steps)):
        forked(lambda n=number: steps[n](args.folder / "oracle.geo"))
        oracle.append(forked(lambda: ask(args.folder / "oracle.geo"))[1])
    assert all(answer[0] == "answer" for answer in oracle), oracle
    points = forked(lambda: points_of(unbroken("counted")))[1]
    began = time.monotonic()
    forked(unbroken("timed"))
    longest_s = time.monotonic() - began
    at_points = args.kills // 2
    results = []
    for number in range(at_points):
        point = round((number + rng.random() * 0.999) * len(points) / at_points - 0.5)
        point = min(max(point, 0), len(points) - 1)
        kill = {"name": points[point], "point": point, "after_s": None}
        results.append(tried(args.folder / "killed", steps, oracle, kill, rng))
    while (landed := sum(r["ended"] == signal.SIGKILL for r in results)) < args.kills and len(results) < 3 * args.kills:
        after_s = rng.uniform(LEAST_MOMENTS_S, longest_s)
        kill = {"name": f"{after_s:.4f} of {longest_s:.4f} s", "point": None, "after_s": after_s}
        results.append(tried(args.folder / "killed", steps, oracle, kill, rng))
        if results[-1]["ended"] == 0:
            longest_s *= 0.9  # the machine has become quicker since
    summary = {"seed": args.seed, "steps": len(steps), "points": len(points), "kills": landed, "at_points": at_points}
    print(json.dumps({**summary, "killed_twice": sum(r["again"] for r in results), "wrong": [r for r in results if r["wrong"]]}))


main()
