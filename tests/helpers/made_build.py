"""Builds on clusters with a cheap description in place of a model, in workers that may be told to die."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.cluster_build import Tools
from crossgeo.indexer.shards import Brief
from crossgeo.indexer.workshop import Workshop


def rules(notes: Path, kill_at: tuple[int, ...] = ()) -> str:
    """Return what stands in for weights: after which batches of all workers whoever did the last one dies."""
    return json.dumps({"notes": str(notes), "kill_at": kill_at})


def open_shop(context: tuple[Brief, Tools]) -> Workshop:
    """Make the state of a worker, as `cluster_build.open_describing_shop`."""
    brief, tools = context
    return Workshop(brief, partial(describe, json.loads(tools.weights)), "made")


def describe(told: dict[str, Any], tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (B, 48) unit vectors of (B, P, P, 3) tiles."""
    if told["notes"]:
        with Path(told["notes"]).open("a") as file:
            file.write("x")
            file.flush()
            if file.tell() in told["kill_at"]:
                os.kill(os.getpid(), signal.SIGKILL)
    small = np.stack([cv2.resize(t, (4, 4), interpolation=cv2.INTER_AREA) for t in tiles]).reshape(len(tiles), -1)
    vectors = small.astype(np.float32) - 127.25
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
