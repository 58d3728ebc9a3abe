"""A folder's layout is recognised by what lies in it."""

from pathlib import Path

import pytest

from crossgeo.errors import InputError, UsageError
from crossgeo.training.datasets.layouts import read, recognise
from crossgeo.training.datasets.records import ObjectRecord, PanoramaRecord
from crossgeo.training.datasets.write import write_cvact, write_cvogl, write_cvusa


def test_written_sets_are_recognised(tmp_path: Path, dense: list[PanoramaRecord], objects: list[ObjectRecord]) -> None:
    write_cvusa(dense[:4], tmp_path / "a")
    write_cvact(dense, tmp_path / "b")
    write_cvogl(objects, tmp_path / "c", "drone")
    assert [recognise(tmp_path / name) for name in "abc"] == [["cvusa"], ["cvact"], ["cvogl-drone"]]
    assert [read(tmp_path / name).layout for name in "abc"] == ["cvusa", "cvact", "cvogl-drone"]
    assert read(tmp_path / "c", "cvogl").name == "CVOGL drone"


def test_both_tasks_of_cvogl_have_to_be_told_apart(tmp_path: Path, objects: list[ObjectRecord]) -> None:
    from dataclasses import replace

    write_cvogl(objects, tmp_path / "c", "drone")
    write_cvogl([replace(row, task="street") for row in objects], tmp_path / "c", "street")
    assert recognise(tmp_path / "c", "cvogl") == ["cvogl-drone", "cvogl-street"]
    with pytest.raises(InputError, match="cvogl-drone and cvogl-street"):
        read(tmp_path / "c")
    assert read(tmp_path / "c", "cvogl-street").name == "CVOGL street"


def test_an_unknown_folder_is_told_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train-19zl\.csv.*ACT_data\.mat.*CVOGL_DroneAerial.*train/drone"):
        read(tmp_path)


def test_a_missing_folder_and_an_unknown_layout_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read(tmp_path / "none")
    with pytest.raises(UsageError, match="'imagenet' is no layout"):
        read(tmp_path, "imagenet")
