"""A report on disk: JSON that says with which machine and versions it was measured."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from crossgeo import __version__, disk, processor

PACKAGES = ("torch", "numpy", "opencv-python-headless", "Pillow", "pyproj", "shapely")


def surroundings() -> dict[str, Any]:
    """Return when, on which machine and with which versions something is measured."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "crossgeo": __version__,
        "machine": {"cpu": processor.model(), "cores": os.cpu_count(), "gpu": gpu, "system": f"{platform.system()} {platform.machine()}"},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, the whole file or none; raise LimitError on a full disk."""
    disk.write(path, (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
