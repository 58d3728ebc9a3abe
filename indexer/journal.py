"""The journal of a running build: finished pieces of work as small checksummed files in `work/`, so that a killed build goes on.

A piece is a payload followed by its SHA-256; a piece that does not match is dropped and made again. `work/plan.json` says which command the
pieces belong to. Pieces are numbered in a fixed order, so what they hold does not depend on where an earlier run ended.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crossgeo import disk
from crossgeo.errors import StoreError, UsageError
from crossgeo.indexer import files
from crossgeo.indexer.manifest import canonical


class Journal:
    """The folder `work/` of an index while it is being built; its writer holds the index's lock."""

    def __init__(self, index: Path, plan: dict[str, Any], *, restart: bool, folder: str = "work", option: str = "--overwrite") -> None:
        """Go on with the work that was begun for `plan`, or begin it.

        With `restart` work begun for another plan is thrown away; without it, it raises UsageError saying what differs and naming the
        `option` that restarts. Work on a generation of the index that was changed meanwhile (`plan["index"]`) is begun again.
        """
        plan = json.loads(canonical(plan))
        self.folder = index / folder
        path = self.folder / "plan.json"
        if self.folder.exists():
            begun = _read_json(path)
            if begun is not None and canonical(begun) != canonical(plan):
                if not restart and {**begun, "index": None} != {**plan, "index": None}:
                    raise UsageError(
                        f"{index} holds an unfinished {begun.get('command', 'build')} of another command ({_difference(begun, plan)}); "
                        f"run that one again, choose another index, or pass {option}"
                    )
                begun = None
            if begun is None:
                files.remove(self.folder)
        if not self.folder.exists():
            files.make_folder(self.folder)
            disk.write(path, canonical(plan))
        for litter in files.below(self.folder, ".tmp"):
            files.remove(litter)

    def get(self, name: str) -> bytes | None:
        """Return a piece, None where it is not there or not whole."""
        return read_piece(self.folder / name)

    def need(self, name: str) -> bytes:
        """Return a piece that was there; raise StoreError where it is gone."""
        payload = self.get(name)
        if payload is None:
            raise StoreError(f"{self.folder}: a piece of this build is gone; check the disk, then run the same command again")
        return payload

    def put(self, name: str, payload: bytes) -> None:
        """Keep a piece."""
        path = self.folder / name
        files.make_folder(path.parent)
        disk.write(path, files.sealed(payload), durable=False)

    def get_json(self, name: str) -> Any:
        """Return a piece of plain data, None where it is not there or not whole."""
        payload = self.get(name)
        return None if payload is None else json.loads(payload)

    def put_json(self, name: str, data: Any) -> None:
        """Keep a piece of plain data."""
        self.put(name, canonical(data))

    def drop(self, name: str) -> None:
        """Forget a piece or a folder of pieces."""
        files.remove(self.folder / name)


def read_piece(path: Path) -> bytes | None:
    """Return a piece, None where it is not there or not whole."""
    with disk.guarded(path):
        if not path.is_file():
            return None
        data = disk.read(path)
    payload = files.unsealed(data)
    if payload is None:
        files.remove(path)
    return payload


def drop_finished(index: Path, plan: dict[str, Any]) -> None:
    """Remove the work of the build that made the index, `plan` without its batch, where the build ended before it did so itself."""
    begun = _read_json(index / "work" / "plan.json")
    if begun is not None and isinstance(options := begun.get("options"), dict):
        options.pop("batch", None)
        if canonical(begun) == canonical(plan):
            files.remove(index / "work")


def begun_command(index: Path) -> str:
    """Return which command has unfinished work in an index: build or add; "" where there is none."""
    plan = _read_json(index / "work" / "plan.json")
    return "" if plan is None else str(plan.get("command", "build"))


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        with disk.guarded(path):
            if not path.is_file():
                return None  # the plan is written first and whole: without one, nothing was begun
            data = json.loads(disk.read(path))
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def _difference(begun: dict[str, Any], plan: dict[str, Any]) -> str:
    """Say which parts of two plans differ."""
    names = sorted(name for name in begun.keys() | plan.keys() if begun.get(name) != plan.get(name))
    said = []
    for name in names:
        was, now = begun.get(name), plan.get(name)
        if isinstance(was, dict) and isinstance(now, dict):
            said += [f"{k}: {was.get(k)!r}, now {now.get(k)!r}" for k in sorted(was.keys() | now.keys()) if was.get(k) != now.get(k)]
        else:
            said.append(f"other {name}")
    return "; ".join(said)
