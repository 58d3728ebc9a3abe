"""Run a batch by a model that needs no training in a process of its own, to be killed; tests and benchmarks/batch_kill.py start it.

    python asking.py INDEX SOURCE OUT... [--exif] [--slowly SECONDS] [--cluster WHERE] [--deadly NAME]

The cameras are those of OPTIONS unless the photos' EXIF is to be believed. So many seconds pass at each record. The photo NAME kills the
worker of the cluster that is asked about it.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from standin import OPTIONS, open_search

from crossgeo.engine.batch import BatchOptions, Spread, run_batch
from crossgeo.engine.cluster import open_cluster


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("index", type=Path)
    parser.add_argument("source")
    parser.add_argument("out", nargs="+")
    parser.add_argument("--exif", action="store_true")
    parser.add_argument("--slowly", type=float, default=0.0)
    parser.add_argument("--cluster")
    parser.add_argument("--deadly", action="append", default=[])
    args = parser.parse_args()
    options = BatchOptions(kind="drone") if args.exif else OPTIONS
    with ExitStack() as opened:
        spread = None
        if args.cluster is not None:
            spread = Spread(
                opened.enter_context(open_cluster(args.cluster, 2)), partial(open_search, args.index, tuple(args.deadly)), spell_s=1.0
            )
        search = opened.enter_context(open_search(args.index))
        run_batch(search, args.source, args.out, options, workers=2, progress=lambda at: time.sleep(args.slowly), spread=spread)


if __name__ == "__main__":
    main()
