"""Run a batch over the patchwork in a process of its own, to be killed; started by tests.

    python asking.py INDEX SOURCE OUT...

SLOWLY_S pass at each record, so that there is time to kill it.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

from crossgeo.engine.batch import BatchOptions, run_batch
from crossgeo.engine.search import GeoSearch
from crossgeo.indexer.index import GeoIndex

SLOWLY_S = 0.03
OPTIONS = BatchOptions(heading_deg=0.0, fov_deg=70.0, height_m=68.0, tilt_deg=0.0)  # known, so that an answer takes little


def main() -> None:
    """Run it."""
    index, source, *outs = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("engine_conftest", Path(__file__).parents[1] / "conftest.py")
    assert spec is not None and spec.loader is not None
    shared = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shared)
    with GeoSearch(GeoIndex.open(Path(index)), shared.ColourDescriber()) as search:
        run_batch(search, source, outs, OPTIONS, workers=2, progress=lambda at: time.sleep(SLOWLY_S))


if __name__ == "__main__":
    main()
