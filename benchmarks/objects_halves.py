"""A second click on a window against a first: what it saves that the reference half's features are kept, on one CPU thread.

Run: python benchmarks/objects_halves.py [--rounds 9] [--few-rounds 3] [--weights attengeo-s-drone]. Whole clicks are timed (the window
read and encoded, the photo placed, the query half, the boxes fused) by process time, first and second in turn. The ground is made up and
the paper's network has random weights; neither changes the cost.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
import torch
from common import record, spread
from rasterio.transform import from_origin

from crossgeo.engine.feature_cache import FeatureCache
from crossgeo.engine.fine import Spot
from crossgeo.engine.locate import ObjectFinder
from crossgeo.engine.photo import Photo
from crossgeo.engine.pose import DronePose
from crossgeo.engine.runtime.timing import in_turn
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import ModelIdentity
from crossgeo.kernels.dihedral import TURNS
from crossgeo.models.attengeo import PRESETS, AttenGeo
from crossgeo.models.checkpoint import load_object_network
from crossgeo.models.object_network import ObjectNetwork

WEST, NORTH, SIDE_M, GSD_M = 363_000.0, 3_057_600.0, 480.0, 0.2
CLICK = (800.0, 600.0)
TOGETHER = 8


def made_index(folder: Path) -> Path:
    """Make an index of smooth noise, whose descriptors say nothing: only its windows are read."""
    side = round(SIDE_M / GSD_M)
    coarse = np.random.default_rng(0).integers(30, 221, (side // 8, side // 8, 3)).astype(np.uint8)
    rgb = np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8", "crs": "EPSG:32645"}
    with rasterio.open(folder / "made.tif", "w", transform=from_origin(WEST, NORTH, GSD_M, GSD_M), **profile) as file:
        file.write(rgb.transpose(2, 0, 1))

    def describe(tiles: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.eye(1, 8, dtype=np.float32).repeat(len(tiles), 0)

    build_index([folder / "made.tif"], folder / "made.geo", describe, ModelIdentity("none", "0" * 64, "0"), BuildOptions(stride_m=60.0))
    return folder / "made.geo"


def measure(index: GeoIndex, model: ObjectNetwork, turns: Sequence[int], folder: Path, rounds: int) -> dict[str, Any]:
    """Time first and second clicks, one from the disk, and several at once on one window."""
    photo = Photo.from_pixels(np.random.default_rng(1).integers(0, 255, (1200, 1600, 3), np.uint8))
    view = model.config.view
    finder = ObjectFinder(index, model, view, turns=turns)
    stored = FeatureCache(memory_bytes=0, folder=folder)
    from_disk = ObjectFinder(index, model, view, features=stored, weights_sha256=model.config.name, turns=turns)
    middle = WEST + SIDE_M / 2, NORTH - SIDE_M / 2

    def spot(step: int) -> Spot:
        return Spot(index.segments[0], middle[0] + 2.0 * (step % 10), middle[1] + 2.0 * (step // 10), DronePose(20.0, 80.0), 0.9, 3.0, 0)

    ahead = count(1)
    calls = {
        "first": lambda: finder.find(photo, CLICK, spot(next(ahead))),
        "second": lambda: finder.find(photo, CLICK, spot(0)),
        "second_from_disk": lambda: from_disk.find(photo, CLICK, spot(0)),
        "together": lambda: finder.find_many(photo, [CLICK] * TOGETHER, [spot(0)] * TOGETHER),
    }
    seconds = in_turn(calls, rounds)
    stats = stored.stats()
    assert finder.features.stats().misses == rounds + 2, "each first click was to be on a window of its own"
    assert stats.trouble is None and stats.misses == 1, "the folder was to serve all but its first click"
    stored.close()
    seconds["each_together"] = [s / TOGETHER for s in seconds.pop("together")]
    return {
        "preset": model.config.name,
        "turns": len(turns),
        "window_px": view.window_px,
        "features_mb": round(finder.features.stats().memory_bytes / finder.features.stats().misses / 1e6, 2),
        "ms": {name: spread([1000 * s for s in times], 1) for name, times in seconds.items()},
        "times_faster_than_first": {
            name: spread([a / b for a, b in zip(seconds["first"], times, strict=True)], 2)
            for name, times in seconds.items()
            if name != "first"
        },
    }


def main() -> None:
    """Measure both networks and record them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--few-rounds", type=int, default=3, help="of the paper's network in eight turns, 20 s each")
    parser.add_argument("--weights", default="attengeo-s-drone", help="shipped weights to measure beside the paper's network")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    paper, small = AttenGeo(PRESETS["attengeo"]), load_object_network(args.weights).module
    one, every = range(1), range(TURNS)
    with tempfile.TemporaryDirectory() as folder, GeoIndex.open(made_index(Path(folder))) as index:
        plan = [(small, one, args.rounds), (small, every, args.rounds), (paper, one, args.rounds), (paper, every, args.few_rounds)]
        cases = [measure(index, model, turns, Path(folder) / str(n), rounds) for n, (model, turns, rounds) in enumerate(plan)]
    record("objects_halves", {"clock": "process time, one thread", "clicks_together": TOGETHER, "cases": cases})


if __name__ == "__main__":
    main()
