"""Run a batch by a model that needs no training in a process of its own, to be killed; tests and benchmarks/batch_kill.py start it.

    python asking.py INDEX SOURCE OUT... [--exif] [--slowly SECONDS]

The cameras are those of OPTIONS unless the photos' EXIF is to be believed. So many seconds pass at each record.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

from crossgeo.engine.batch import BatchOptions, run_batch
from crossgeo.engine.search import GeoSearch
from crossgeo.indexer.index import GeoIndex

OPTIONS = BatchOptions(heading_deg=0.0, fov_deg=70.0, height_m=68.0, tilt_deg=0.0)  # known, so that an answer takes little


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("index", type=Path)
    parser.add_argument("source")
    parser.add_argument("out", nargs="+")
    parser.add_argument("--exif", action="store_true")
    parser.add_argument("--slowly", type=float, default=0.0)
    args = parser.parse_args()
    spec = importlib.util.spec_from_file_location("engine_conftest", Path(__file__).parents[1] / "conftest.py")
    assert spec is not None and spec.loader is not None
    shared = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shared)
    options = BatchOptions(kind="drone") if args.exif else OPTIONS
    with GeoSearch(GeoIndex.open(args.index), shared.ColourDescriber()) as search:
        run_batch(search, args.source, args.out, options, workers=2, progress=lambda at: time.sleep(args.slowly))


if __name__ == "__main__":
    main()
