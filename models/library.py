"""Weights by name: those that came with the package, and those that were imported or pulled into the user's own folder."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import platformdirs

from crossgeo.errors import UsageError, WeightsError

SUFFIX = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def weights_folder() -> Path:
    """Return the user's own folder of weights, which need not exist: of `$XDG_DATA_HOME` on Linux, else as the system has it."""
    return platformdirs.user_data_path("crossgeo", appauthor=False) / "weights"


def shipped_weights() -> list[str]:
    """Return the names of the weights that come with the package."""
    folder = resources.files("crossgeo.models.weights")
    return sorted(item.name.removesuffix(SUFFIX) for item in folder.iterdir() if item.name.endswith(SUFFIX))


def imported_weights() -> list[str]:
    """Return the names of the weights in the user's own folder."""
    folder = weights_folder()
    return sorted(path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []


def find_weights(name_or_path: str | Path) -> Path:
    """Return the file of shipped or imported weights by name, or of a path; raise WeightsError when there is none."""
    given, name = Path(name_or_path), str(name_or_path)
    if given.suffix == SUFFIX or len(given.parts) > 1 or given.is_file():
        if not given.is_file():
            raise WeightsError(f"{given}: no such weights file; give the path of a {SUFFIX} file or one of: {_known()}")
        return given
    if name in shipped_weights():
        return Path(str(resources.files("crossgeo.models.weights") / f"{name}{SUFFIX}"))
    if name in imported_weights():
        return weights_folder() / f"{name}{SUFFIX}"
    raise WeightsError(f"no weights are called {name!r}; there are: {_known()}; or give a {SUFFIX} path")


def place_for(name_or_path: str, *, overwrite: bool = False) -> tuple[str, Path]:
    """Return the name and the file of weights to be written: in the user's own folder for a name, else at the path.

    Raises UsageError for a name that is none, that shipped weights have, or that is taken, unless to `overwrite`.
    """
    path = Path(name_or_path)
    if path.suffix == SUFFIX:
        name = path.name.removesuffix(SUFFIX)
    elif _NAME.fullmatch(name_or_path):
        name, path = name_or_path, weights_folder() / f"{name_or_path}{SUFFIX}"
    else:
        raise UsageError(f"{name_or_path!r} names no weights; take letters, digits, '.', '-' and '_', or a path that ends in {SUFFIX}")
    if name in shipped_weights():
        raise UsageError(f"{name} are weights that came with the package; choose another name")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} is there already; choose another name, or replace it with --overwrite")
    return name, path


def _known() -> str:
    return ", ".join([*shipped_weights(), *imported_weights()]) or "none"
