"""Looking at a path that is to be written before hours or seconds of work are spent on what goes there."""

from __future__ import annotations

import os
from pathlib import Path

from crossgeo.errors import InputError, UsageError
from crossgeo.indexer.files import what_is


def check_file(path: Path, option: str) -> None:
    """Raise InputError unless a file can be written at `path`: its folder is there and may be written, and it is no folder itself."""
    if what_is(path) == "folder":
        raise InputError(f"{option} {path} is a folder; give the name of a file")
    if what_is(path.parent) != "folder":
        raise InputError(f"{option} {path}: no such folder as {path.parent}; make it first, or choose another path")
    _check_writable(path.parent, path, option)


def check_page(path: Path, option: str) -> None:
    """Raise UsageError for a name that is no page's, and what `check_file` raises."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{option} {path}: give a name that ends in .html")
    check_file(path, option)


def check_folder(path: Path, option: str) -> None:
    """Raise InputError unless `path` is a folder that may be written, or one can be made there with its parents."""
    there = what_is(path)
    if there == "file":
        raise InputError(f"{option} {path} is a file; give the name of a folder")
    if there == "folder":
        _check_writable(path, path, option)
    else:
        check_new(path, option)


def check_new(path: Path, option: str) -> None:
    """Raise InputError unless something can be made at `path`, with the folders above it; what stands there already is not looked at."""
    if what_is(path) is not None:
        return
    above = path.parent
    while (there := what_is(above)) is None and above != above.parent:
        above = above.parent
    if there != "folder":
        raise InputError(f"{option} {path}: {above} is no folder; choose another path")
    _check_writable(above, path, option)


def _check_writable(folder: Path, path: Path, option: str) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{option} {path}: you may not write into {folder}; choose another path, or change its permissions")
