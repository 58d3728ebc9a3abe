"""A path where nothing can be read or made is the user's to mend, and the message names it; a failing disk is not."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from crossgeo.errors import InputError, LimitError, UsageError
from crossgeo.indexer import files
from crossgeo.indexer.build import build_index
from crossgeo.indexer.imagery import open_source
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.verify import verify_index

PATHS = {
    "through a file": "note.txt/a.geo",
    "too long a name": "n" * 300,
    "with a zero byte": "a\0.geo",
    "a circle of links": "circle/a.geo",
}


@pytest.fixture
def bad_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return one of PATHS in a folder that holds a file and a link to itself."""
    (tmp_path / "note.txt").write_text("mine")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    return tmp_path / PATHS[request.param]


@pytest.mark.parametrize("bad_path", PATHS, indirect=True)
def test_a_path_that_leads_nowhere_is_an_input_error_wherever_it_is_first_touched(
    bad_path: Path, ortho: Path, describe: Any, identity: Any, options: Any
) -> None:
    attempts = [
        lambda: GeoIndex.open(bad_path),
        lambda: verify_index(bad_path),
        lambda: open_source(bad_path),
        lambda: build_index([ortho], bad_path, describe, identity, options),
    ]
    for attempt in attempts:
        with pytest.raises(InputError) as raised:
            attempt()
        assert (bad_path.name if "\0" not in bad_path.name else "x00") in str(raised.value)


def test_what_is_tells_files_folders_and_nothing_apart(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    assert [files.what_is(tmp_path / name) for name in ("note.txt", ".", "none", "none/deeper")] == ["file", "folder", None, None]


def test_a_file_given_as_an_index_is_called_a_file_and_a_missing_one_missing(ortho: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a file, not an index"):
        GeoIndex.open(ortho)
    with pytest.raises(InputError, match=r"none\.geo is not there"):
        GeoIndex.open(tmp_path / "none.geo")


def test_an_index_cannot_take_the_place_of_a_file(ortho: Path, describe: Any, identity: Any, options: Any) -> None:
    with pytest.raises(UsageError, match="is a file"):
        build_index([ortho], ortho, describe, identity, options)


def test_a_file_system_that_takes_no_folders_is_an_input_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(path: Path, **_: Any) -> None:  # as /proc does, though every parent is asked for
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match="no folder can be made there"):
        files.make_folder(tmp_path / "none" / "a.geo")


def test_a_folder_that_may_not_be_looked_into_is_an_input_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(path: Path, **_: Any) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        files.what_is(tmp_path)


def test_a_new_folder_appears_once_it_is_whole(tmp_path: Path) -> None:
    with files.new_folder(tmp_path / "deep" / "town", "town") as folder:
        (folder / "note.txt").write_text("whole")
        assert [path.name for path in (tmp_path / "deep").iterdir()] == [folder.name] != ["town"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["town"]
    assert (tmp_path / "deep" / "town" / "note.txt").read_text() == "whole"


def test_a_new_folder_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), files.new_folder(tmp_path / "town", "town") as folder:
        (folder / "note.txt").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_takes_the_place_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(InputError, match="exists already"), files.new_folder(tmp_path / "mine", "town"):
        pass
    assert (tmp_path / "mine").read_text() == "keep"


@pytest.mark.parametrize(
    ("number", "says"), [(errno.ENOSPC, "run the same command again$"), (errno.EIO, "the data set could not be written: ")]
)
def test_a_new_folder_that_the_disk_does_not_take_says_what_could_not_be_written(number: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(LimitError, match=says), files.new_folder(tmp_path / "set", "data set"):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []
