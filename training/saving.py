"""A run's `checkpoint.pt`: whole or not at all, of one model and one way to train it, with all that the next step depends on."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossgeo import disk
from crossgeo.errors import GeoError, MismatchError, StoreError

FORMAT = 3
Saved = dict[str, Any]


def write_checkpoint(path: Path, saved: Saved) -> None:
    """Replace the checkpoint; where that fails (a full disk) the old one stays, and the error says so."""
    try:
        with disk.replacing(path) as temporary:
            save_archive({"format": FORMAT, **saved}, temporary)
    except GeoError as error:
        kept = f"the checkpoint before it, of step {_step_of(path)}, is kept" if path.exists() else "nothing is kept of this run"
        raise type(error)(f"step {saved['step']} could not be saved, {kept}. {error}") from error


def save_archive(value: Any, path: Path) -> None:
    """Write what `torch.load` reads; raise the OSError of a write that failed, of which `torch.save` says only that its position is off."""
    with path.open("wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def read_checkpoint(path: Path, identity: dict[str, Any], device: str | torch.device = "cpu") -> Saved:
    """Read a checkpoint; MismatchError when it is of another model or another way to train, naming both."""
    saved = _load(path, device)
    if saved.get("format") != FORMAT:
        raise MismatchError(f"{path} was written by another version (format {saved.get('format', 1)}); give a new --out or remove it")
    theirs, ours = _flat(saved["identity"]), _flat(identity)
    if theirs.get("name") != ours.get("name"):
        raise MismatchError(f"{path} is of {theirs.get('name')!r}, this run of {ours.get('name')!r}; give a new --out or remove it")
    keys = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
    if keys:
        differs = ", ".join(f"{key} {theirs.get(key)!r} there and {ours.get(key)!r} here" for key in keys)
        raise MismatchError(f"{path} is of another run ({differs}); go on with what it was begun with, or give a new --out")
    return saved


def trained_model(path: Path) -> tuple[dict[str, Tensor], Saved]:
    """Return the tensors of the model that a run came to (the averaged ones where it kept an average) and all that was saved."""
    saved = _load(path, "cpu")
    state = saved["average"] if saved.get("average") else saved["task"]
    return {name.removeprefix("model."): tensor for name, tensor in state.items() if name.startswith("model.")}, saved


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """Return the values inside of groups as values of their own, `sampling.batch`."""
    groups = {key: value for key, value in identity.items() if isinstance(value, dict)}
    inside = {f"{key}.{name}": value for key, group in groups.items() for name, value in _flat(group).items()}
    return {key: value for key, value in identity.items() if key not in groups} | inside


def _load(path: Path, device: str | torch.device) -> Saved:
    try:
        saved: Saved = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise StoreError(f"{path}: not a whole checkpoint ({type(error).__name__}); remove it, and training starts anew") from error
    return saved


def _step_of(path: Path) -> int:
    return int(_load(path, "cpu")["step"])
