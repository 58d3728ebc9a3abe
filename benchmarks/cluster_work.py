"""The work that benchmarks/cluster.py has done in several ways: photos answered, tiles described; and a process that does it by itself.

    python cluster_work.py photos|tiles INDEX PHOTOS COUNT

says "ready" once everything is open, then reads "FIRST STEP" from stdin, does each STEP-th part of the work from FIRST on and prints the
digest of each: of a photo's answer, or of the descriptors of some tiles.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded: one process, one thread, whichever way the work is done

import cv2
import numpy as np

from crossgeo.engine.answering import Answering
from crossgeo.engine.batch import BatchItem, BatchOptions, Spread, photos_in, run_batch
from crossgeo.engine.cluster import Cluster, Job, Shard
from crossgeo.engine.decoder import Decoder
from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.engine.runtime.pictures import of_index
from crossgeo.engine.search import GeoSearch
from crossgeo.indexer.index import GeoIndex

RUNTIME = RuntimeOptions(build=True)
BATCH, SHARD = 32, 128  # tiles


def opener(index: Path) -> Callable[[], GeoSearch]:
    """Return what opens the search, here and in workers."""
    return partial(GeoSearch.open, index, runtime=RUNTIME)


def digest(record: dict[str, Any]) -> str:
    """Return a digest of an answer, without what two equal questions differ in."""
    plain = {name: value for name, value in record.items() if name != "timings_ms"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def ask(search: GeoSearch, items: Sequence[BatchItem], **how: Any) -> list[str]:
    """Answer photos by `run_batch`; return their digests."""
    out: list[str] = []
    run_batch(search, items, (), each=lambda _, record: out.append(digest(record)), **how)
    return out


@dataclass(frozen=True)
class Describing:
    """What describes tiles, opened once in a process."""

    index: GeoIndex
    describer: EgoTRDescriber

    @classmethod
    def of(cls, index: str) -> Describing:
        """Open it."""
        cv2.setNumThreads(1)
        opened = GeoIndex.open(Path(index))
        return cls(opened, EgoTRDescriber.load(options=RUNTIME, pictures=lambda: of_index(opened)))

    def close(self) -> None:
        """Close the index."""
        self.index.close()


def describe(state: Describing, part: tuple[int, int]) -> str:
    """Read and describe tiles first..last in batches; return a digest of their descriptors."""
    made, index = hashlib.sha256(), state.index
    for at in range(*part, BATCH):
        ids = np.arange(at, min(at + BATCH, part[1]))
        tiles, _ = index.read_windows(index.segments[0], index.centres[ids], index.tile_m, index.tile_px)
        made.update(state.describer.tiles(tiles).tobytes())
    return made.hexdigest()[:16]


def parts(tiles: int) -> list[tuple[int, int]]:
    """Cut tiles into shards."""
    return [(at, min(at + SHARD, tiles)) for at in range(0, tiles, SHARD)]


def describe_spread(cluster: Cluster, index: Path, tiles: int) -> list[str]:
    """Describe tiles by the workers of a cluster; return the digests of shards."""
    job = Job("describe", Describing.of, describe, str(index))
    found: dict[tuple[int, int], str] = {}
    for outcome in cluster.run(job, [Shard(f"tiles {a} to {b}", (a, b), b - a) for a, b in parts(tiles)]):
        if outcome.result is None:
            raise outcome.error or SystemExit(f"{outcome.shard.key}: its worker died {outcome.died} times")
        found[outcome.shard.payload] = outcome.result
    return [found[part] for part in sorted(found)]


def ask_spread(cluster: Cluster, search: GeoSearch, index: Path, items: Sequence[BatchItem]) -> list[str]:
    """Answer photos by the workers of a cluster; return their digests."""
    return ask(search, items, spread=Spread(cluster, opener(index)))


def main() -> None:
    """Do as the words say."""
    kind, index, photos, count = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    if kind == "photos":
        items = photos_in(photos)[:count]
        with opener(index)() as search, Decoder() as decoder, Answering(search, 1, threads=1) as answering:

            def submit(photo: Photo, points: tuple[tuple[float, float], ...], options: BatchOptions) -> Future[Answer]:
                return answering.submit(photo, points[0] if points else None, options)

            serve(lambda first, step: ask(search, items[first::step], decoder=decoder, workers=1, ask=submit))
    else:
        state = Describing.of(str(index))
        serve(lambda first, step: [describe(state, part) for part in parts(count)[first::step]])
        state.close()


def serve(do: Callable[[int, int], list[str]]) -> None:
    """Do what each line says until there is no more."""
    print("ready", flush=True)
    for line in sys.stdin:
        first, step = map(int, line.split())
        print(*do(first, step), flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
