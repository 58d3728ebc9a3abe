"""A batch on a cluster of three nodes: the same answers as of one process, and a photo that kills workers is the only one without."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray_clusters import ROOT, TestCluster
from standin import OPTIONS

from crossgeo.engine.batch import run_batch
from crossgeo.engine.decoder import Decoder
from crossgeo.engine.search import GeoSearch

PHOTOS, DEADLY = 12, 5


def records(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in row.items() if name != "timings_ms"} for row in rows]


def test_three_nodes_answer_as_one_process_does_and_a_photo_that_kills_workers_is_an_error(
    ray_nodes: TestCluster, tmp_path: Path, index_path: Path, take: Callable[[Path, int], Path], search: GeoSearch, decoder: Decoder
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(PHOTOS):
        take(folder / f"{number:02}.png", number % 5)
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    asking = str(ROOT / "tests" / "helpers" / "asking.py")
    told = ["--cluster", ray_nodes.address, "--deadly", f"{DEADLY:02}.png"]
    done = ray_nodes.run([sys.executable, asking, str(index_path), str(folder), str(out), *told])
    assert done.returncode == 0, done.stdout + done.stderr
    run_batch(search, folder, whole, OPTIONS, decoder=decoder, workers=1)
    rows, expected = records(out), records(whole)
    killed = rows.pop(DEADLY)
    assert killed["photo"] == expected.pop(DEADLY)["photo"]
    assert "the worker that answered this photo alone ended 2 times" in killed["error"]["message"]
    assert rows == expected
