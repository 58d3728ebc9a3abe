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
from numpy.typing import NDArray

from crossgeo.indexer import area, files
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import ModelIdentity
from crossgeo.indexer.verify import verify_index

SOURCES = [Path(p) for p in sys.argv[2:]]
OUT = Path(sys.argv[1])
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


def forked(work: Callable[[], Any], kill_after_s: float | None = None) -> tuple[int, Any]:
    """Run `work` in a child and return (the signal that ended it or 0, what it returned or None)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writer, json.dumps(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), (json.loads(said) if said else None)


def killed_at(point: int, out: Path) -> Callable[[], Any]:
    """Return a build that kills itself at its n-th point."""

    def work() -> Any:
        left = [point]

        def fault(_: str) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        files.FAULT = fault
        return build(out, overwrite=True)

    return work


def points_of(out: Path) -> list[str]:
    """Build and return the names of the points passed."""
    seen: list[str] = []
    files.FAULT = seen.append
    build(out, overwrite=True)
    return seen


def main() -> None:
    """Kill twenty times, about half of them over an older generation."""
    area.BLOCKS_PER_PIECE, area.BATCHES_PER_PIECE = 2, 2
    began = time.monotonic()
    wanted = forked(lambda: build(OUT / "unbroken.geo"))[1]
    seconds = time.monotonic() - began
    old = forked(lambda: build(OUT / "old.geo", stride_m=30.0))[1]
    shutil.copytree(OUT / "old.geo", OUT / "points.geo")
    points = forked(lambda: points_of(OUT / "points.geo"))[1]
    chosen = sorted({round(n * (len(points) - 1) / 13) for n in range(14)})
    moments: list[tuple[str, int | None, float | None]] = [(points[n], n, None) for n in chosen]
    rng = random.Random(1)
    moments += [("at random", None, rng.uniform(0.05, 0.95) * seconds) for _ in range(20 - len(moments))]
    results = []
    for number, (name, point, after_s) in enumerate(moments):
        out = OUT / f"{number}.geo"
        over = point is not None or number % 2 == 0
        if over:
            shutil.copytree(OUT / "old.geo", out)
        ended, _ = forked(killed_at(point if point is not None else 10**9, out), after_s)

        def look(out: Path = out) -> Any:
            with GeoIndex.open(out) as index:
                return index.manifest.hash

        between = forked(look) if over else (0, None)
        resumed = forked(lambda out=out: build(out, overwrite=True))
        after = forked(lambda out=out: [verify_index(out), sorted(p.name for p in out.iterdir())])
        results.append({"at": name, "ended": ended, "between": between, "resumed": resumed, "after": after, "over": over})
        shutil.rmtree(out)
    print(json.dumps({"wanted": wanted, "old": old, "results": results}))


main()
