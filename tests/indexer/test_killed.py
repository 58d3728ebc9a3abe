"""A build killed at any moment goes on to the same index, manifest hash for manifest hash, and readers see the old one meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from affine import Affine

LONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_builds_killed_at_twenty_random_moments_end_like_an_unbroken_one(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    near = write_raster(tmp_path / "near.tif", paint(220, 300))
    far = write_raster(tmp_path / "far.tif", paint(160, 160), "EPSG:32737", Affine(0.5, 0.0, 527000.0, 0.0, -0.5, 9332000.0))
    script = Path(__file__).with_name("killing.py")
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")  # pytest shows it with a failure
    command = [sys.executable, str(script), str(tmp_path), str(seed), str(near), str(far)]
    done = subprocess.run(command, env=os.environ | LONE_THREAD, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["landed"] == 20, "too many random moments came after the end"
    assert all(result["ended"] == signal.SIGKILL for result in said["results"][: said["at_points"]])
    for result in said["results"]:
        assert result["ended"] in (0, signal.SIGKILL), result
        assert result["resumed"] == [0, said["wanted"]], result
        assert result["after"][0] == 0, result
        problems, names = result["after"][1]
        assert problems == [], result
        assert {"CURRENT", "LOCK", "segments"} < set(names), result
        # No litter: one manifest, and over an older generation, unless the kill came after the commit, that one's.
        assert sum(name.startswith("manifest-") for name in names) in ((1, 2) if result["over"] else (1,)), result
        assert len(names) - sum(name.startswith("manifest-") for name in names) == 3, result
        if result["over"]:
            assert result["between"][0] == 0, result
            assert result["between"][1] in (said["old"], said["wanted"]), result
