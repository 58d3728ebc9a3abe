"""What must be the same wherever work is done: our code, Python, Ray, and the libraries that decide what comes out."""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import crossgeo
from crossgeo.errors import MismatchError

_PACKAGES = ("commands", "engine", "indexer", "kernels", "models", "town", "training", "web")
_LIBRARIES = ("faiss-cpu", "numpy", "opencv-python-headless", "openvino", "Pillow", "pyproj", "rasterio", "ray", "torch")


@functools.cache
def here() -> Mapping[str, str]:
    """Return what this process runs: names with versions, and `code`, a digest of our own source."""
    found = {"crossgeo": crossgeo.__version__, "code": _code_digest(), "Python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def _code_digest() -> str:
    root = Path(crossgeo.__file__).parent
    files = [*root.glob("*.py"), *(path for package in _PACKAGES for path in (root / package).rglob("*.py"))]
    digest = hashlib.sha256()
    for path in sorted(files):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:16]


def difference(drivers: Mapping[str, str], workers: Mapping[str, str]) -> str:
    """Return what a worker runs that its driver does not, for people; empty where they run the same."""
    names = sorted(drivers.keys() | workers.keys(), key=str.lower)
    pairs = [(name, workers.get(name, "none"), drivers.get(name, "none")) for name in names]
    return ", ".join(f"{name} {theirs} (here {ours})" for name, theirs, ours in pairs if theirs != ours)


def compare(drivers: Mapping[str, str], workers: Mapping[str, str], node: str) -> None:
    """Raise MismatchError, naming the node and all that differs, where a worker does not run what its driver does."""
    if other := difference(drivers, workers):
        raise MismatchError(
            f"{node} does not run what this machine does: {other}; install the same crossgeo with the same libraries there, "
            f"start its part of the cluster again, and give the same command"
        )
