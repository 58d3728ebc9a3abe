"""A file is written whole or not at all, and what a failed write means is said by its kind of error, naming the path."""

from __future__ import annotations

import ast
import errno
import os
from pathlib import Path

import pytest

from crossgeo import disk
from crossgeo.errors import GeoError, InputError, LimitError, StoreError


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, LimitError), (errno.EDQUOT, LimitError), (errno.EFBIG, LimitError), (errno.EACCES, InputError),
        (errno.EPERM, InputError), (errno.EROFS, InputError), (errno.ENOTDIR, InputError), (errno.EISDIR, InputError),
        (errno.ENAMETOOLONG, InputError), (errno.ELOOP, InputError), (errno.EIO, StoreError), (errno.ENOENT, StoreError),
    ],
)  # fmt: skip
def test_each_failure_of_a_write_has_its_kind_and_names_the_path(number: int, kind: type[GeoError]) -> None:
    with pytest.raises(kind, match=r"city\.geo: ") as raised, disk.guarded(Path("city.geo")):
        raise OSError(number, os.strerror(number))
    assert type(raised.value) is kind


def test_only_a_command_that_keeps_what_is_done_is_said_to_go_on() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    said = [str(disk.named(Path("city.geo"), full, goes_on=goes_on)) for goes_on in (True, False)]
    assert [line.endswith("it goes on from there") for line in said] == [True, False]
    assert all("free some room, then run the same command again" in line for line in said)


@pytest.mark.parametrize("point", ["note.txt: written", "note.txt: synced"])
def test_a_write_that_fails_before_its_end_leaves_the_old_file_alone(point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(here: str) -> None:
        if here == point:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "note.txt").write_text("old")
    monkeypatch.setattr(disk, "FAULT", fail)
    with pytest.raises(LimitError, match=r"note\.txt: No space left"):
        disk.write(tmp_path / "note.txt", b"new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"note.txt": "old"}
    monkeypatch.setattr(disk, "FAULT", None)
    disk.write(tmp_path / "note.txt", b"new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"note.txt": "new"}


CHANGES = {
    "unlink",
    "rename",
    "replace",
    "mkdir",
    "makedirs",
    "rmdir",
    "rmtree",
    "remove",
    "write_bytes",
    "write_text",
    "touch",
    "fsync",
    "truncate",
}
HANDS = {"disk.py", "files.py", "lock.py"}  # through which all that changes in an index goes


def test_what_changes_in_an_index_changes_through_one_place() -> None:
    root = Path(disk.__file__).parent
    found = []
    for module in sorted({*(root / "indexer").glob("*.py")} - {root / "indexer" / name for name in HANDS}):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
                owner = ast.unparse(node.func.value)
                if owner not in ("disk", "files") and not (node.func.attr == "replace" and len(node.args) == 2):  # str.replace(old, new)
                    found.append(f"{module.name}:{node.lineno}: {ast.unparse(node.func)}")
    assert found == []


def test_every_call_is_told_before_it_is_made_and_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(disk, "CALL", lambda kind, path, _: seen.append((kind, path.name)))
    disk.write(tmp_path / "a", b"1")
    disk.read(tmp_path / "a")
    folder = tmp_path.name
    assert seen == [
        ("unlink", "a.tmp"), ("write", "a.tmp"), ("sync", "a.tmp"), ("rename", "a.tmp"), ("sync", folder), ("read", "a"),
    ]  # fmt: skip

    def fail(kind: str, path: Path, _: Path | None) -> None:
        if kind == "rename":
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    monkeypatch.setattr(disk, "CALL", fail)
    with pytest.raises(LimitError, match="ulimit -n"):
        disk.write(tmp_path / "a", b"2")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"1"}
