"""Runs that are killed end with the output of one that nobody killed (benchmarks/batch_kill.py does it at length)."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from standin import OPTIONS

from crossgeo.engine.batch import run_batch
from crossgeo.engine.decoder import Decoder
from crossgeo.engine.search import GeoSearch

SCRIPT = Path(__file__).parents[2] / "helpers" / "asking.py"
PHOTOS, KILLS = 30, 3


def start(index: Path, folder: Path, *outs: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(index), str(folder), *map(str, outs), "--slowly", "0.03"])


def answered(journal: Path) -> int:
    return journal.read_bytes().count(b'"record"') if journal.exists() else 0


def records(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in row.items() if name != "timings_ms"} for row in rows]


def test_a_batch_killed_again_and_again_ends_with_the_output_of_an_unbroken_one(
    tmp_path: Path, index_path: Path, take: Callable[[Path, int], Path], search: GeoSearch, decoder: Decoder
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(PHOTOS):
        if number < 5:
            take(folder / f"{number:02}.png", number)
        else:
            (folder / f"{number:02}.png").hardlink_to(folder / f"{number % 5:02}.png")
    (folder / "07.png").unlink()
    (folder / "07.png").write_bytes(b"no photo")
    killed, whole = ([tmp_path / f"{name}.{suffix}" for suffix in ("jsonl", "parquet")] for name in ("killed", "whole"))
    journal = tmp_path / "killed.jsonl.partial.jsonl"
    moments = sorted(random.Random(3).sample(range(1, PHOTOS - 3), KILLS))
    for moment in moments:
        child = start(index_path, folder, *killed)
        while child.poll() is None and answered(journal) < moment:
            time.sleep(0.01)
        child.kill()
        assert child.wait() == -9
        assert answered(journal) >= moment
    before = answered(journal)
    assert not any(out.exists() for out in killed)
    run_batch(search, folder, killed, OPTIONS, decoder=decoder)
    assert not journal.exists()
    assert before < PHOTOS + KILLS  # the photo that is none is tried in each run
    run_batch(search, folder, whole, OPTIONS, decoder=decoder)
    assert records(killed[0]) == records(whole[0])
    assert len(records(killed[0])) == PHOTOS
    columns = [name for name in pq.read_schema(killed[1]).names if name != "answer"]
    assert pq.read_table(killed[1], columns=columns).equals(pq.read_table(whole[1], columns=columns))
