"""A disk that loses power: what calls to the file system were made, and which states they may leave behind when it goes dark between them.

The rules are stricter than those of file systems in use. A file's bytes are safe once it was synced; before, any part of them may be lost.
A name made, changed or removed in a folder is safe once that folder was synced; before, each change may be lost by itself, in any order,
except that a rename happens whole or not at all.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

NEVER = 1 << 60


@dataclass(eq=False)
class File:
    """A file's bytes, and since which event they are safe."""

    data: bytes = b""
    safe_from: int = NEVER


@dataclass(eq=False)
class Folder:
    """A folder's entries as a running program sees them."""

    entries: dict[str, File | Folder] = field(default_factory=dict)


@dataclass
class Change:
    """Names that change in one step, the event that it is, and since which event it is safe."""

    event: int
    entries: list[tuple[Folder, str, File | Folder | None]]
    safe_from: int = NEVER


class Disk:
    """The folder `root`, empty at first; `record` is to be `crossgeo.disk.CALL`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events: list[str] = []
        self._top = Folder()
        self._changes: list[Change] = []
        self._open: dict[Path, File] = {}

    def record(self, kind: str, path: Path, target: Path | None) -> None:
        """Take note of a call before it is made."""
        if kind in ("look", "list", "read"):
            return
        self.events.append(f"{kind} {path.relative_to(self.root)}" if path != self.root else kind)
        if path in self._open and kind in ("sync", "rename"):
            self._open[path].data = path.read_bytes()
        if kind == "sync":
            self._sync(self._at(path))
        elif kind in ("write", "lock", "mkdir"):
            folder, name = self._parent(path), path.name
            if name in folder.entries and kind != "write":
                return
            made: File | Folder = Folder() if kind == "mkdir" else File()
            if isinstance(made, File):
                self._open[path] = made
            self._change([(folder, name, made)])
        elif kind == "rename":
            assert target is not None
            moved = self._parent(path).entries[path.name]
            self._change([(self._parent(path), path.name, None), (self._parent(target), target.name, moved)])
            self._open.pop(path, None)
        elif kind == "unlink":
            if path.name in self._parent(path).entries:
                self._change([(self._parent(path), path.name, None)])
        else:
            assert kind == "rmtree", kind
            self._remove(self._parent(path), path.name)

    def mark(self, what: str) -> None:
        """Note an event that is no call."""
        self.events.append(what)

    def after(self, events: int, keep: float, rng: random.Random) -> dict[str, bytes | None]:
        """Return what may stand under the root after so many events: bytes by path, None for a folder.

        Of what was not safe by then, each change is kept, and each file's bytes are whole, with a chance of `keep`.
        """
        entries: dict[Folder, dict[str, File | Folder]] = {}
        for change in self._changes:
            if change.event < events and (change.safe_from < events or rng.random() < keep):
                for folder, name, node in change.entries:
                    if node is None:
                        entries.setdefault(folder, {}).pop(name, None)
                    else:
                        entries.setdefault(folder, {})[name] = node
        found: dict[str, bytes | None] = {}

        def walk(folder: Folder, path: str) -> None:
            for name, node in entries.get(folder, {}).items():
                if isinstance(node, Folder):
                    found[path + name] = None
                    walk(node, f"{path}{name}/")
                elif node.safe_from < events or rng.random() < keep:
                    found[path + name] = node.data
                else:
                    found[path + name] = _lost(node.data, rng)

        walk(self._top, "")
        return found

    def _at(self, path: Path) -> File | Folder:
        node: File | Folder = self._top
        for name in path.relative_to(self.root).parts:
            assert isinstance(node, Folder), path
            node = node.entries[name]
        return node

    def _parent(self, path: Path) -> Folder:
        folder = self._at(path.parent)
        assert isinstance(folder, Folder), path
        return folder

    def _sync(self, node: File | Folder) -> None:
        now = len(self.events) - 1
        if isinstance(node, File):
            node.safe_from = min(node.safe_from, now)
            return
        for change in self._changes:
            if any(folder is node for folder, _, _ in change.entries):
                change.safe_from = min(change.safe_from, now)

    def _change(self, entries: list[tuple[Folder, str, File | Folder | None]]) -> None:
        self._changes.append(Change(len(self.events) - 1, entries))
        for folder, name, node in entries:
            if node is None:
                folder.entries.pop(name, None)
            else:
                folder.entries[name] = node

    def _remove(self, parent: Folder, name: str) -> None:
        node = parent.entries[name]
        if isinstance(node, Folder):
            for inner in list(node.entries):
                self._remove(node, inner)
        self._change([(parent, name, None)])


def _lost(data: bytes, rng: random.Random) -> bytes:
    """Return what may be left of bytes that were not synced."""
    at = rng.randrange(len(data) + 1)
    return rng.choice([b"", data[:at], data[:at] + bytes(len(data) - at), bytes(len(data))])
