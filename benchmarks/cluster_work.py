"""The work that benchmarks/cluster.py has done in several ways: photos answered, tiles described; and a process that has it done.

    python cluster_work.py photos|tiles INDEX PHOTOS COUNT [CLUSTER WORKERS]

does it by itself or has a cluster do it: says "ready" once everything is open, then reads "FIRST STEP" from stdin, does each STEP-th part
of the work from FIRST on and prints the digest of each: of a photo's answer, or of the descriptors of some tiles.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded: one process, one thread, whichever way the work is done

import cv2
import numpy as np

from crossgeo.engine.answering import Answering
from crossgeo.engine.batch import BatchItem, BatchOptions, Spread, photos_in, run_batch
from crossgeo.engine.cluster import Cluster, Job, Shard, open_cluster
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


def ask(how: dict[str, Any], items: Sequence[BatchItem]) -> list[str]:
    """Answer photos by `run_batch`; return their digests."""
    out: list[str] = []
    run_batch(items=items, out=(), each=lambda _, record: out.append(digest(record)), **how)
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


def describe_spread(cluster: Cluster, index: Path, some: Sequence[tuple[int, int]]) -> list[str]:
    """Describe tiles by the workers of a cluster; return the digests of shards."""
    job = Job("describe", Describing.of, describe, str(index))
    found: dict[tuple[int, int], str] = {}
    for outcome in cluster.run(job, [Shard(f"tiles {a} to {b}", (a, b), b - a) for a, b in some]):
        if outcome.result is None:
            raise outcome.error or SystemExit(f"{outcome.shard.key}: its worker died {outcome.died} times")
        found[outcome.shard.payload] = outcome.result
    return [found[part] for part in sorted(found)]


def main() -> None:
    """Do as the words say."""
    kind, index, photos, count = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    where = sys.argv[5:]
    with ExitStack() as opened:
        cluster = opened.enter_context(open_cluster(where[0], int(where[1]))) if where else None
        if kind == "photos":
            how = answering(opened, index, cluster)
            items = photos_in(photos)[:count]
            serve(lambda first, step: ask(how, items[first::step]))
        elif cluster is not None:
            serve(lambda first, step: describe_spread(cluster, index, parts(count)[first::step]))
        else:
            state = opened.enter_context(closing(Describing.of(str(index))))
            serve(lambda first, step: [describe(state, part) for part in parts(count)[first::step]])


def answering(opened: ExitStack, index: Path, cluster: Cluster | None) -> dict[str, Any]:
    """Return what `run_batch` is told to answer by: a cluster, or one thread of this process."""
    search = opened.enter_context(opener(index)())
    if cluster is not None:
        return {"search": search, "spread": Spread(cluster, opener(index))}
    threads = opened.enter_context(Answering(search, 1, threads=1))

    def submit(photo: Photo, points: tuple[tuple[float, float], ...], options: BatchOptions) -> Future[Answer]:
        return threads.submit(photo, points[0] if points else None, options)

    return {"search": search, "decoder": opened.enter_context(Decoder()), "workers": 1, "ask": submit}


def serve(do: Callable[[int, int], list[str]]) -> None:
    """Do what each line says until there is no more."""
    print("ready", flush=True)
    for line in sys.stdin:
        first, step = map(int, line.split())
        print(*do(first, step), flush=True)


if __name__ == "__main__":
    import cluster_work

    with suppress(KeyboardInterrupt):
        cluster_work.main()  # as a module, by whose name workers import what they do
