"""Kill builds with SIGKILL at named points and at random moments, resume each, and print what came of it as JSON; run by test_killed.py.

A process of its own, so that forking is safe: it starts no thread before it forks.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from forking import forked
from numpy.typing import NDArray

from crossgeo import disk
from crossgeo.indexer import area, described
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import ModelIdentity
from crossgeo.indexer.verify import verify_index

OUT, SEED = Path(sys.argv[1]), int(sys.argv[2])
SOURCES = [Path(p) for p in sys.argv[3:]]
AT_POINTS, AT_MOMENTS, MOST_ATTEMPTS = 10, 20, 60
NEVER = 10**9
OPTIONS = {"gsd_m": 0.5, "tile_px": 24, "batch": 4}


def describe(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe tiles by their means, slowly enough to be killed in between."""
    time.sleep(0.002)
    small = np.stack([cv2.resize(t, (4, 4), interpolation=cv2.INTER_AREA) for t in tiles]).reshape(len(tiles), -1).astype(np.float32)
    return np.asarray(small / np.linalg.norm(small, axis=1, keepdims=True), np.float32)


def build(out: Path, **changes: Any) -> str:
    """Build and return the manifest's hash."""
    options = BuildOptions(**{**OPTIONS, **changes})
    return build_index(SOURCES, out, describe, ModelIdentity("made", "0" * 64, "0"), options).hash


def killed_at(point: int, out: Path) -> Callable[[], Any]:
    """Return a build that kills itself at its n-th point."""

    def work() -> Any:
        left = [point]

        def fault(_: str) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        disk.FAULT = fault
        return build(out, overwrite=True)

    return work


def points_of(out: Path) -> list[str]:
    """Build and return the names of the points passed."""
    seen: list[str] = []
    disk.FAULT = seen.append
    build(out, overwrite=True)
    return seen


def tried(number: int, point: int | None, after_s: float | None, over: bool) -> dict[str, Any]:
    """Kill one build at its n-th point or after a while, half of them over an older generation; resume it and tell what came of it."""
    out = OUT / f"{number}.geo"
    if over:
        shutil.copytree(OUT / "old.geo", out)
    ended, _ = forked(killed_at(NEVER if point is None else point, out), after_s)

    def look() -> str:
        with GeoIndex.open(out) as index:
            return index.manifest.hash

    between = forked(look) if over else (0, None)
    resumed = forked(lambda: build(out, overwrite=True))
    after = forked(lambda: [verify_index(out), sorted(p.name for p in out.iterdir())])
    shutil.rmtree(out)
    return {"ended": ended, "between": between, "resumed": resumed, "after": after, "over": over}


def main() -> None:
    """Kill at points spread over a whole build, then at random moments until enough of those have come before the build's end."""
    area.BLOCKS_PER_PIECE, described.BATCHES_PER_PIECE = 2, 2
    began = time.monotonic()
    wanted = forked(lambda: build(OUT / "unbroken.geo"))[1]
    longest_s = time.monotonic() - began
    old = forked(lambda: build(OUT / "old.geo", stride_m=30.0))[1]
    shutil.copytree(OUT / "old.geo", OUT / "points.geo")
    points = forked(lambda: points_of(OUT / "points.geo"))[1]
    chosen = sorted({round(n * (len(points) - 1) / (AT_POINTS - 1)) for n in range(AT_POINTS)})
    results = [{"at": points[n], **tried(n, n, None, over=True)} for n in chosen]
    rng, landed = random.Random(SEED), 0
    for number in range(MOST_ATTEMPTS):
        after_s = rng.uniform(0.0, longest_s)
        result = {"at": f"{after_s:.4f} of {longest_s:.4f} s", **tried(number, None, after_s, over=number % 2 == 0)}
        results.append(result)
        landed += result["ended"] == signal.SIGKILL
        if landed == AT_MOMENTS:
            break
        if result["ended"] == 0:
            longest_s *= 0.9  # the machine has become quicker since
    print(json.dumps({"wanted": wanted, "old": old, "at_points": len(chosen), "landed": landed, "results": results}))


main()
