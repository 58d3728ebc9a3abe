"""Make a golden index: a tiny index of the format that this program writes, and beside it what it must answer for ever.

Run once for a format, on the version that introduces it, and never again: python tests/indexer/golden/make.py NAME [--added | --lists].
It makes the folder NAME and beside it NAME.json, from the made imagery of the trials; with --added of two sources of which one was added,
so that there are layers, and tiles at the seam that were removed and described again; with --lists one searched by inverted lists.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from crossgeo.indexer.index import GeoIndex

HERE = Path(__file__).parent


def queries(dim: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return (3, D) unit vectors that need no random numbers."""
    waves = np.cos(np.outer(np.arange(1, 4), np.arange(dim)) * 0.7)
    return np.asarray(waves / np.linalg.norm(waves, axis=1, keepdims=True), np.float32)


def told(index: GeoIndex) -> dict[str, Any]:
    """Return what a golden index is asked: all of its tiles, some nearest tiles, and what some windows show."""
    everything = np.arange(len(index))
    scores, ids = index.search(queries(index.manifest.dim), 6)
    among_scores, among = index.search(queries(index.manifest.dim), 3, ids=everything[1::4])
    windows = []
    for segment in index.segments:
        rgb, valid = index.read_window(segment, *index.centres[segment.first_id], 60.0, 24)
        windows.append({"valid": int(valid.sum()), "mean": rgb[valid].mean(axis=0).round(3).tolist()})
    return {
        "hash": index.manifest.hash,
        "generation": index.generation,
        "identity": [index.manifest.identity.name, index.manifest.identity.sha256, index.manifest.identity.view],
        "crs": [s.crs.to_string() for s in index.segments],
        "tiles": [s.tiles for s in index.segments],
        "centres": index.centres.tolist(),
        "lat_lon": index.lat_lon(everything).round(9).tolist(),
        "descriptors": index.descriptors(everything).round(6).tolist(),
        "search": {"ids": ids.tolist(), "scores": scores.round(5).tolist()},
        "among": {"ids": among.tolist(), "scores": among_scores.round(5).tolist()},
        "windows": windows,
    }


def main(name: str, added: bool, lists: bool) -> None:
    """Make both."""
    sys.path.insert(0, str(HERE.parent / "trials"))
    from world import add, build, search_by_lists, write_imagery

    if lists:
        search_by_lists()
    out = HERE / name
    with tempfile.TemporaryDirectory() as folder:
        imagery = write_imagery(Path(folder))
        build(out, [imagery["near"]] if added else [imagery["near"], imagery["far"]], stride_m=20.0)
        if added:
            add(out, imagery["next"], keep=0)
    (out / "LOCK").unlink()
    with GeoIndex.open(out) as index:
        (HERE / f"{name}.json").write_text(json.dumps(told(index)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], "--added" in sys.argv[2:], "--lists" in sys.argv[2:])
