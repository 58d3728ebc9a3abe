"""Answer one photo again and again from an index that is spread over a cluster, by a model that needs no training, and say what came.

    python answering_spread.py INDEX SHELF CLUSTER TILES DEADLINE_S

A line for each answer: when (seconds since 1970), whether it is that of one process, its status, how many areas it misses, what it took,
and the replicas that answer. Ends when its stdin does.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from standin import shared

from crossgeo.engine.cluster import open_cluster
from crossgeo.engine.live import LiveSearch
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.serving.rows import OnShelf
from crossgeo.engine.serving.shelf import ShardOptions, Shelf
from crossgeo.indexer.index import GeoIndex

ASKED: dict[str, Any] = {"heading_deg": 0.0, "height_m": 50.0, "fov_deg": 62.0}


def main() -> None:
    """Answer until nobody listens."""
    index, shelf_folder, where, tiles, deadline_s = sys.argv[1:]
    tests, path = shared(), Path(index)
    photo = tests.Ground(tests.patchwork(1, round(tests.SIDE_M / tests.GSD_M))).photo(363_150.0, 3_057_450.0, 0.0, 60.0)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    truth: dict[int, Any] = {}

    def told(search: GeoSearch) -> dict[str, Any]:
        return {**search.query(photo, **ASKED).to_json(), "timings_ms": None}

    def plain(generation: int) -> Any:
        if generation not in truth:
            with GeoSearch(GeoIndex.open(path), tests.ColourDescriber()) as search:
                truth[search.index.generation] = told(search)
        return truth.get(generation)

    plain(1)
    options = ShardOptions(int(tiles), deadline_s=float(deadline_s), folder=Path(shelf_folder))
    with open_cluster(where) as cluster, Shelf(cluster, options) as shelf:
        rows = OnShelf(shelf)
        with LiveSearch(path, lambda at: GeoSearch(GeoIndex.open(at, rows), tests.ColourDescriber()), every_s=0.2) as live:
            while not ended.wait(0.02):
                began = time.monotonic()
                with live.current() as search:
                    answer = told(search)
                    shards = search.index.rows.metrics()
                took = time.monotonic() - began
                same = answer == plain(answer["index"]["generation"])
                line = {
                    "at": time.time(),
                    "same": same,
                    "status": answer["status"],
                    "missing": len(answer.get("partial", ())),
                    "took": took,
                }
                print(json.dumps({**line, "generation": answer["index"]["generation"], **shards}), flush=True)


if __name__ == "__main__":
    main()
