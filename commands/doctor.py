"""`geo doctor`: what this machine and installation offer, for a bug report or a slow run."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossgeo import __version__, processor
from crossgeo.commands import console

if TYPE_CHECKING:
    from crossgeo.engine.runtime.store import EngineStore

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
            ("GPU", found["gpu"] or f"none ({found['no_gpu']}); everything runs on the processor"),
            ("runtime", f"{found['runtime']['auto']} ({found['runtime']['why']})"),
            *((f"  {name}", f"{told['here']}; serves {told['serves']}") for name, told in found["runtime"]["every"].items()),
            ("engines", _engines_told(found["runtime"])),
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

    from crossgeo.engine.runtime.torch import no_gpu
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
        "no_gpu": no_gpu(),
        "runtime": runtimes(),
        "memory_gib": _memory_gib(),
        "disk_free_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "weights": shipped_weights(),
        "geo_index": os.environ.get("GEO_INDEX"),
    }


def runtimes() -> dict[str, Any]:
    """Return which runtime `auto` takes and why, and of every other which version is here, whether it runs and which devices it serves."""
    from crossgeo.commands.devices import device_of
    from crossgeo.engine.runtime.backends import NAMES, backend
    from crossgeo.engine.runtime.choose import RuntimeOptions, choose
    from crossgeo.engine.runtime.store import EngineStore

    device, store = device_of("auto"), EngineStore()
    chosen = choose(RuntimeOptions(device=device))
    every = {}
    for name in NAMES:
        found = backend(name)
        try:
            installed = found.version()
        except PackageNotFoundError:
            installed = None
        why_not = found.missing("cuda" if name.startswith("tensorrt") and device == "cpu" else device)  # more than that it is of GPUs
        if why_not is None:
            here = f"{installed}, {', '.join(found.precisions(device))}"
        elif installed is None:
            here = f"not installed: pip install 'crossgeo[{name}]'"
        else:
            here = f"{installed} is installed, and does not run here: {why_not}"
        every[name] = {"runs": why_not is None, "installed": installed, "here": here, "serves": found.SERVES}
    return {
        "auto": f"{chosen.backend} {chosen.precision} on {device}", "why": chosen.why, "every": every, "folder": str(store.folder),
        **_engines(store),
    }  # fmt: skip


def _engines(store: EngineStore) -> dict[str, int]:
    """Count the engines that can be used, what they were checked on, and those that were refused and are damaged or not checked."""
    from crossgeo.engine.runtime.store import ANY_CARD
    from crossgeo.errors import StoreError

    records = [record for _, record in store.records()]
    whole = [record for record in records if not isinstance(record, StoreError)]
    built = [record for record in whole if record.files and not record.refused]  # without files it is torch's own check
    checked = [record for record in built if record.key.device != ANY_CARD]
    return {
        "engines": len(checked),
        "engines_of_imagery": sum(record.ground == "imagery" for record in checked),
        "engines_unchecked": len(built) - len(checked),
        "engines_refused": sum(bool(record.refused) for record in whole),
        "engines_damaged": len(records) - len(whole),
    }


def _engines_told(found: dict[str, Any]) -> str:
    others = [f"{found[f'engines_{what}']} {what}" for what in ("unchecked", "refused", "damaged") if found[f"engines_{what}"]]
    more = f" ({', '.join(others)}; geo engine list says which)" if others else ""
    imagery = f", {found['engines_of_imagery']} of them checked on imagery" if found["engines"] else ""
    return f"{found['engines']} built{imagery}{more}, in {found['folder']}"


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
