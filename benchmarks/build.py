"""A whole index of Banepa built, against describing the same tiles alone: how much reading, cutting and writing add.

Run: python benchmarks/build.py [--data DIR] [--work DIR] [--rounds 3] [--device cuda] [--imagery PATH].

One thread describes; the threads that read ahead of it are the
build's own. Every round builds afresh and then describes the tiles that it described, read beforehand, in the same batches. The wall clock
says what overlapping is worth where a core is free, process time what all of it costs; the load of other programs is noted with both.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import cv2
import ground_truth
import numpy as np
import torch
from common import record, spread

from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.engine.runtime.pictures import of_imagery
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.described import BATCHES_PER_PIECE, InStream
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import Manifest
from crossgeo.indexer.progress import Progress

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Vectors = np.ndarray[Any, np.dtype[np.float32]]


class Clock:
    """Wall and process seconds since it was made or last read."""

    def __init__(self) -> None:
        self._wall, self._cpu = perf_counter(), process_time()

    def read(self) -> tuple[float, float]:
        """Return both and begin again."""
        wall, cpu = perf_counter(), process_time()
        spent = wall - self._wall, cpu - self._cpu
        self._wall, self._cpu = wall, cpu
        return spent


def build(imagery: Path, out: Path, describer: EgoTRDescriber, options: BuildOptions) -> tuple[Manifest, dict[str, float]]:
    """Build an index; return seconds of the whole, and on the wall clock those of describing and those until it began."""
    inside, began = 0.0, Clock()
    first: list[float] = []

    def describe(tiles: Pixels) -> Vectors:
        nonlocal inside
        started = perf_counter()
        out = describer.tiles(tiles)
        inside += perf_counter() - started
        return out

    def progress(at: Progress) -> None:
        if at.stage == "describe" and not first:
            first.append(perf_counter())

    started = perf_counter()
    streamed = isinstance(describer.describe, InStream)  # a GPU takes the next tiles while it describes: no call can be timed by itself
    manifest = build_index([imagery], out, describer.describe if streamed else describe, describer.identity, options, progress)
    wall, cpu = began.read()
    return manifest, {
        "wall_s": wall,
        "cpu_s": cpu,
        "describing_wall_s": wall if streamed else inside,
        "first_batch_after_s": first[0] - started,
    }


def alone(index: Path, describer: EgoTRDescriber, options: BuildOptions) -> tuple[float, float, float]:
    """Describe the tiles of an index in batches of the build's; return wall and process seconds, and how far descriptors lie apart."""
    wall, cpu, apart = 0.0, 0.0, 0.0
    with GeoIndex.open(index) as opened:
        step = options.batch if describer.aerial.describer.branch.device.type == "cpu" else BATCHES_PER_PIECE * options.batch
        for at in range(0, len(opened), step):
            ids = np.arange(at, min(at + step, len(opened)))
            tiles, _ = opened.read_windows(opened.segments[0], opened.centres[ids], options.tile_m, options.tile_px)
            clock = Clock()
            vectors = describer.tiles(tiles)
            spent = clock.read()
            wall, cpu = wall + spent[0], cpu + spent[1]
            apart = max(apart, float(np.abs(vectors - opened.descriptors(ids)).max()))
    return wall, cpu, apart


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), help="where indexes are built and removed again")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runtime", default="auto", help="as `geo index build` takes it; its engines are built before")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--imagery", type=Path, help="other imagery than Banepa's, like a town's ortho.tif")
    args = parser.parse_args()
    imagery = args.imagery or ground_truth.data_folder(args.data) / "oam_banepa" / "tiles_z19"
    if args.device == "cpu":
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
    runtime = RuntimeOptions(runtime=args.runtime, device=args.device, build=True)
    describer = EgoTRDescriber.load(options=runtime, pictures=lambda: of_imagery([imagery]))
    options = BuildOptions(tile_m=describer.tile_view.extent_m, tile_px=describer.tile_view.size_px)
    describer.tiles(np.zeros((options.batch, options.tile_px, options.tile_px, 3), np.uint8))  # chooses kernels
    rounds, tiles, hashes = [], 0, set()
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory(dir=args.work) as folder:
            load = os.getloadavg()[0]
            manifest, whole = build(imagery, Path(folder) / "banepa.geo", describer, options)
            wall_s, cpu_s, apart = alone(Path(folder) / "banepa.geo", describer, options)
        assert apart < (1e-6 if args.device == "cpu" else 1e-2), "the same tiles were to be described"  # a GPU's sums vary with the batch
        tiles = manifest.tiles
        hashes.add(manifest.hash)
        found = {**whole, "alone_wall_s": wall_s, "alone_cpu_s": cpu_s, "load_before": load}
        print(f"round {number + 1}:", {name: round(value, 2) for name, value in found.items()}, flush=True)
        rounds.append(found)
    assert len(hashes) == 1, "equal builds were to be equal"
    record(
        "build" if args.device == "cpu" else "build-gpu",
        {
            "imagery": "Banepa, 374 tiles of zoom 19" if args.imagery is None else f"{imagery.parent.name}/{imagery.name}",
            "device": "" if args.device == "cpu" else torch.cuda.get_device_name(),
            "tiles": tiles,
            "runtime": describer.tiles_run_on,
            "threads": f"one describes{'' if args.device == 'cpu' else ' on the GPU'}; builds read ahead with as many as there are cores",
            "manifest_sha256": hashes.pop(),
            "build_over_describing_alone": {
                "wall": spread([one["wall_s"] / one["alone_wall_s"] for one in rounds], 3),
                "process": spread([one["cpu_s"] / one["alone_cpu_s"] for one in rounds], 3),
            },
            # Under the same load, unlike what is measured one after the other:
            "build_over_describing_in_it": {"wall": spread([one["wall_s"] / one["describing_wall_s"] for one in rounds], 3)},
            "rounds": [{name: round(value, 2) for name, value in one.items()} for one in rounds],
        },
    )


if __name__ == "__main__":
    main()
