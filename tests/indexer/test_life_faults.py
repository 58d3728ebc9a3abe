"""Commands that change an index, stopped at points of their writing: the index answers as before or as after, and goes on."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from affine import Affine

from crossgeo import disk
from crossgeo.errors import InputError, LimitError
from crossgeo.indexer.add import AddOptions, add_to_index
from crossgeo.indexer.build import build_index
from crossgeo.indexer.compact import compact_index
from crossgeo.indexer.generations import roll_back
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import read_manifest, segment_path
from crossgeo.indexer.remove import What, remove_from_index
from crossgeo.indexer.repair import repair_index
from crossgeo.indexer.verify import verify_index

WEST_M, NORTH_M = 353400.0, 3058000.0


class Killed(BaseException):
    """Stands for the end of the process: nobody catches it."""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, write_raster: Any, paint: Any, describe: Any, identity: Any, options: Any) -> Path:
    """Return a folder with an index of two additions, and imagery for a third."""
    folder = tmp_path_factory.mktemp("start")
    for n in range(3):
        place = Affine(0.5, 0, WEST_M + 60 * n, 0, -0.5, NORTH_M)
        write_raster(folder / f"{n}.tif", paint(150, 160, seed=n), affine=place)
    build_index([folder / "0.tif"], folder / "a.geo", describe, identity, options)
    add_to_index([folder / "1.tif"], folder / "a.geo", describe, identity)
    return folder


@pytest.mark.parametrize("failure", [Killed(), OSError(errno.ENOSPC, "No space left on device")], ids=["killed", "full"])
@pytest.mark.parametrize("command", ["add", "remove", "compact", "rollback", "repair"])
def test_a_change_stopped_anywhere_is_done_or_not_begun(
    tmp_path: Path, start: Path, describe: Any, identity: Any, monkeypatch: pytest.MonkeyPatch, command: str, failure: BaseException
) -> None:
    index = tmp_path / "a.geo"

    def change() -> object:
        if command == "add":
            return add_to_index([start / "2.tif"], index, describe, identity, AddOptions(over=True))
        if command == "remove":
            return remove_from_index(index, What(source="0.tif"), describe)
        if command == "compact":
            return compact_index(index)
        return roll_back(index, 1) if command == "rollback" else repair_index(index)

    def prepare() -> None:
        shutil.rmtree(index, ignore_errors=True)
        shutil.copytree(start / "a.geo", index)
        if command == "repair":
            for segment in read_manifest(index).segments:
                (segment_path(index, segment.name) / "ann.faiss").write_bytes(b"")

    points: list[str] = []
    prepare()
    before = read_manifest(index)
    monkeypatch.setattr(disk, "FAULT", points.append)
    change()
    after = read_manifest(index)
    names = {p.name for p in index.iterdir()}
    for number in range(0, len(points), 3 if isinstance(failure, Killed) else 5):
        prepare()
        monkeypatch.setattr(disk, "FAULT", _failing(number, failure))
        with pytest.raises((Killed, LimitError)):
            change()
        monkeypatch.setattr(disk, "FAULT", None)
        now = read_manifest(index)
        assert now.hash in (before.hash, after.hash), points[number]
        if command != "repair":
            with GeoIndex.open(index) as opened:  # every file checked
                assert len(opened) == now.tiles
        if command == "remove" and now.hash == after.hash:
            with pytest.raises(InputError, match=r"has no 0\.tif"):
                change()
        else:
            change()
        assert read_manifest(index).hash == after.hash, points[number]
        assert verify_index(index) == []
        left = {p.name for p in index.iterdir() if not p.name.startswith("manifest-")}
        assert left - {"work-remove"} == {name for name in names if not name.startswith("manifest-")}, points[number]


def _failing(number: int, failure: BaseException) -> Callable[[str], None]:
    left = [number]

    def fault(_: str) -> None:
        left[0] -= 1
        if left[0] == -1:
            raise failure

    return fault
