"""Builds on clusters with a cheap description in place of a model, in workers that may be told to die.

Run: python made_build.py CLUSTER IMAGERY INDEX NOTES EACH_S [STORAGE]: builds as a driver does, and prints the hash.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.engine import cluster_build
from crossgeo.engine.cluster import open_cluster
from crossgeo.engine.cluster_build import ClusterRunner, Tools
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.indexer import described, pieces, shards
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.manifest import ModelIdentity
from crossgeo.indexer.shards import Brief
from crossgeo.indexer.spread import Crew
from crossgeo.indexer.workshop import Workshop

IDENTITY = ModelIdentity("made", "0" * 64, "0")
OPTIONS = BuildOptions(gsd_m=0.5, tile_px=16, batch=4)
SMALL = ((pieces, "BLOCKS_PER_PIECE", 1), (described, "BATCHES_PER_PIECE", 1), (shards, "_LEAST_SHARDS", 8))
"""What cuts small imagery into many shards."""


def rules(notes: Path, kill_at: tuple[int, ...] = (), each_s: float = 0.0) -> str:
    """Return what stands in for weights: after which batches of all workers whoever did the last one dies, and how long each takes."""
    return json.dumps({"notes": str(notes), "kill_at": kill_at, "each_s": each_s})


def crew(cluster: Any, imagery: Path, weights: str, storage: str | None = None) -> Crew:
    """Return workers with `rules` in place of weights."""
    return Crew(ClusterRunner(cluster, Tools(weights, IDENTITY, RuntimeOptions("torch"), (str(imagery),), None)), storage)


def open_shop(context: tuple[Brief, Tools]) -> Workshop:
    """Make the state of a worker, as `cluster_build.open_describing_shop`."""
    brief, tools = context
    return Workshop(brief, partial(describe, json.loads(tools.weights)), "made")


def describe(told: dict[str, Any], tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (B, 48) unit vectors of (B, P, P, 3) tiles."""
    time.sleep(told["each_s"])
    if told["notes"]:
        with Path(told["notes"]).open("a") as file:
            file.write("x")
            file.flush()
            if file.tell() in told["kill_at"]:
                os.kill(os.getpid(), signal.SIGKILL)
    small = np.stack([cv2.resize(t, (4, 4), interpolation=cv2.INTER_AREA) for t in tiles]).reshape(len(tiles), -1)
    vectors = small.astype(np.float32) - 127.25
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def main() -> None:
    """Build as the arguments say."""
    where, imagery, out, notes, each_s, *storage = sys.argv[1:]
    for module, name, value in SMALL:
        setattr(module, name, value)
    with open_cluster(where) as cluster:
        vars(cluster_build)["open_describing_shop"] = sys.modules["made_build"].open_shop
        work = crew(cluster, Path(imagery), rules(Path(notes), each_s=float(each_s)), *storage)
        print(build_index([imagery], out, work, IDENTITY, OPTIONS, lambda at: print(at.stage, at.done, at.who, flush=True)).hash)


if __name__ == "__main__":
    import made_build  # noqa: F401  (under the name by which workers import it)

    main()
