"""`torchrun ... geo train`: processes that torchrun itself starts train one model together, and one of them writes and speaks."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from crossgeo.models.checkpoint import load_egotr

GEO = ["--module", "crossgeo"]  # `geo` may not be installed as a script


@pytest.mark.slow
def test_two_processes_leave_one_model_and_one_of_them_speaks(street_city: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *GEO]
    asked = ["--start-from", street_city.weights, "--out", out, "--device", "cpu", "--workers", "0", "--batch", "4", "--steps", "2"]
    command = [*torchrun, "train", "egotr", street_city.ortho, *asked]
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    saved = torch.load(out / "checkpoint.pt", weights_only=True)
    assert (saved["step"], saved["identity"]["processes"]) == (2, 2)
    assert [path.name for path in out.rglob("*.safetensors")] == ["weights.safetensors"]
    begun, trained = load_egotr(street_city.weights), load_egotr(out / "weights.safetensors")
    assert trained.card["view"] == begun.card["view"] and trained.sha256 != begun.sha256
    assert done.stdout == ""
    assert [done.stderr.count(said) for said in (f"{out / 'weights.safetensors'}: written", "not calibrated")] == [1, 1], done.stderr
