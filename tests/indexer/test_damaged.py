"""A damaged file gives an error that names it, never a signal and never another answer; a full disk leaves the old index."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from crossgeo.errors import LimitError
from crossgeo.indexer.build import build_index
from crossgeo.indexer.index import GeoIndex


def test_every_damage_to_every_file_is_an_error_that_names_the_file(made_index: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("damaging.py")), str(made_index), str(tmp_path)]
    lone_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | lone_thread, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["oracle"][0] == "answer"
    assert said["again"] == said["oracle"]
    assert {r["file"] for r in said["results"]} == {"CURRENT", "manifest-000001.json", "ann.faiss", "blocks.lmdb", "descriptors.h5"}
    assert len(said["results"]) > 100
    for result in said["results"]:
        assert result["ended"] == 0, result
        (kind, text), problems = result["said"]
        assert kind == "StoreError", result
        assert result["file"] in text, result
        assert any(result["file"] in problem for problem in problems), result


def test_a_full_disk_is_a_limit_and_the_old_index_stays(
    small_disk: Any, tmp_path: Path, ortho: Path, describe: Any, identity: Any, options: Any
) -> None:
    small_disk(65536)
    old = build_index([ortho], small_disk(65536) / "a.geo", describe, identity, dataclasses.replace(options, stride_m=40.0))
    more = dataclasses.replace(options, overwrite=True)
    wanted = build_index([ortho], tmp_path / "unbroken.geo", describe, identity, more)
    used = sum(f.stat().st_size + 4096 for f in (small_disk(65536) / "a.geo").rglob("*") if f.is_file()) // 1024
    limits, size = 0, used + 16
    while True:
        out = small_disk(size) / "a.geo"
        try:
            assert build_index([ortho], out, describe, identity, more).hash == wanted.hash
            break
        except LimitError as error:
            assert "room" in str(error)
            limits += 1
            with GeoIndex.open(out) as index:
                assert index.manifest == old
        size += max(16, used // 8)
        assert size < 65536
    assert limits >= 3
