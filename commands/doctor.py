"""`geo doctor`: what this machine and installation offer, for a bug report or a slow run."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from crossgeo import __version__, processor
from crossgeo.commands import console

LIBRARIES = (
    "torch", "numpy", "faiss-cpu", "h5py", "lmdb", "rasterio", "pyproj", "shapely", "morecantile", "Pillow", "opencv-python-headless",
    "safetensors", "openvino", "onnx", "typer", "rich",
)  # fmt: skip
CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "bf16")


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """Show versions, the processor's features, threads, memory and the weights found."""
    found = examine()
    if json:
        console.print_json(found)
        return
    console.print_rows(
        [
            ("crossgeo", f"{found['crossgeo']}, Python {found['python']}, {found['system']}"),
            ("libraries", ", ".join(f"{name} {number or 'MISSING'}" for name, number in found["libraries"].items())),
            ("GDAL, PROJ", f"{found['gdal']}, {found['proj']}"),
            ("processor", f"{found['cpu']}; {' '.join(found['cpu_features']) or 'no vector features seen'}"),
            ("threads", f"{found['torch_threads']} in torch, of {found['cpus']} processors"),
            ("GPU", found["gpu"] or "none; everything runs on the processor"),
            ("runtime", f"{found['runtime']['auto']} ({found['runtime']['why']})"),
            *((f"  {name}", f"{told['here']}; serves {told['serves']}") for name, told in found["runtime"]["every"].items()),
            ("engines", f"{found['runtime']['engines']} built, in {found['runtime']['folder']}"),
            ("memory", f"{found['memory_gib']} GiB" if found["memory_gib"] else "unknown"),
            ("disk here", f"{found['disk_free_gib']} GiB free"),
            ("weights", ", ".join(found["weights"]) or "none shipped with this installation"),
            ("GEO_INDEX", found["geo_index"] or "not set"),
        ]
    )


def examine() -> dict[str, Any]:
    """Gather what the command shows."""
    import rasterio
    import torch
    from pyproj import proj_version_str

    from crossgeo.models.library import shipped_weights

    return {
        "crossgeo": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "gdal": rasterio.__gdal_version__,
        "proj": proj_version_str,
        "cpu": processor.model(),
        "cpu_features": [feature for feature in CPU_FEATURES if feature in processor.instructions()],
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "runtime": runtimes(),
        "memory_gib": _memory_gib(),
        "disk_free_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "weights": shipped_weights(),
        "geo_index": os.environ.get("GEO_INDEX"),
    }


def runtimes() -> dict[str, Any]:
    """Return which runtime `auto` takes and why, and of every other whether it runs here and which devices it serves."""
    from crossgeo.commands.devices import device_of
    from crossgeo.engine.runtime.backends import NAMES, backend
    from crossgeo.engine.runtime.choose import RuntimeOptions, choose
    from crossgeo.engine.runtime.store import EngineStore

    device, store = device_of("auto"), EngineStore()
    chosen = choose(RuntimeOptions(device=device))
    every = {}
    for name in NAMES:
        found = backend(name)
        why_not = found.missing(device)
        here = f"{found.version()}, {', '.join(found.precisions(device))}" if why_not is None else f"not here: {why_not}"
        every[name] = {"runs": why_not is None, "here": here, "serves": found.SERVES}
    return {
        "auto": f"{chosen.backend} {chosen.precision} on {device}", "why": chosen.why, "every": every, "folder": str(store.folder),
        "engines": sum(1 for _ in store.folder.glob("*/engine.json")),
    }  # fmt: skip


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None
