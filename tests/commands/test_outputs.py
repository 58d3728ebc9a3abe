"""A path to be written is looked at before the work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crossgeo.commands.outputs import check_file, check_folder, check_new
from crossgeo.errors import InputError


def test_a_file_needs_a_folder_that_is_there(tmp_path: Path) -> None:
    check_file(tmp_path / "a.csv", "-o")
    (tmp_path / "a.csv").write_text("old")
    check_file(tmp_path / "a.csv", "-o")
    with pytest.raises(InputError, match=rf"-o .*no such folder as {tmp_path / 'none'}"):
        check_file(tmp_path / "none" / "a.csv", "-o")
    with pytest.raises(InputError, match="is a folder"):
        check_file(tmp_path, "-o")
    with pytest.raises(InputError, match=r"a\.csv"):
        check_file(tmp_path / "a.csv" / "b.csv", "-o")


def test_a_folder_may_be_there_or_be_made_with_its_parents(tmp_path: Path) -> None:
    check_folder(tmp_path, "--out")
    check_folder(tmp_path / "deep" / "deeper", "--out")
    assert not (tmp_path / "deep").exists(), "looking makes nothing"
    (tmp_path / "note").write_text("mine")
    for name in ("note", "note/deep"):
        with pytest.raises(InputError, match=f"{tmp_path / name}.* file"):
            check_folder(tmp_path / name, "--out")


def test_something_new_is_named_where_it_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    check_new(tmp_path / "deep" / "a.geo", "--out")
    check_new(tmp_path / "note", "--out")  # what is to become of it is for others to say
    with pytest.raises(InputError, match=r"note/a\.geo"):
        check_new(tmp_path / "note" / "a.geo", "--out")


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    for check in (check_file, check_folder, check_new):
        with pytest.raises(InputError, match="may not write into"):
            check(tmp_path / "a", "--out")
