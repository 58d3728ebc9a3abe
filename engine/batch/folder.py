"""The photos of a folder."""

from __future__ import annotations

from pathlib import Path

from crossgeo.engine.batch.item import BatchItem
from crossgeo.engine.photo import SUFFIXES
from crossgeo.errors import InputError


def photos_in(folder: Path) -> list[BatchItem]:
    """List the photos of a folder and its subfolders by name; raise InputError when it is no folder or holds none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"{folder}: holds no photo; photos end in {', '.join(SUFFIXES)}")
    return [BatchItem(path, path.relative_to(folder).as_posix()) for path in paths]
