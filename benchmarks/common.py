"""What every benchmark shares: a JSON result that says which machine, commit and versions it was measured with."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from crossgeo import processor

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "faiss-cpu", "opencv-python-headless", "rasterio", "h5py", "lmdb")
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8")


def record(name: str, payload: Mapping[str, Any]) -> Path:
    """Write `payload` with its surroundings to benchmarks/results/NAME.json, print where, and return the path."""
    result = {"benchmark": name, "measured": datetime.now(UTC).isoformat(timespec="seconds"), **surroundings(), **payload}
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(text)
    print(f"written: benchmarks/results/{path.name}", flush=True)
    return path


def recorded(name: str, **alike: Any) -> dict[str, Any]:
    """Return what was recorded as `name` by this commit on this machine with these versions, {} otherwise: a run that was cut off goes on.

    `alike` are other fields that must be equal, like the device.
    """
    path = RESULTS / f"{name}.json"
    if not path.exists() or COMMIT == "unknown" or COMMIT.endswith("+changes"):
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    wanted = json.loads(json.dumps({**surroundings(), **alike}))
    return found if all(found.get(field) == value for field, value in wanted.items()) else {}


def surroundings() -> dict[str, Any]:
    """Return the machine (CPU model, flags that matter, cores), the commit and the versions at work."""
    cpu = processor.fields()
    machine = {
        "cpu": processor.model(),
        "cpu_family_model": [cpu.get("cpu family"), cpu.get("model")],
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in processor.instructions()],
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    versions = {"python": platform.python_version()} | {p: _version(p) for p in PACKAGES}
    return {"machine": machine, "commit": COMMIT, "versions": versions}


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Return the median with the least and the greatest value."""
    return {"median": round(median(values), digits), "least": round(min(values), digits), "greatest": round(max(values), digits)}


def _version(package: str) -> str | None:
    """Return a package's version, None where it is not here: a machine with a GPU may lack what only some benchmarks need."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    """Return the commit, with "+changes" where tracked files differ from it; $COMMIT or "unknown" where there is no history."""
    root = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("COMMIT", "unknown")


COMMIT = _commit()  # of what is about to run: a long benchmark ends in another world
