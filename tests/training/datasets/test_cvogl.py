"""CVOGL and G2D: the tuple of eight to the letter, true places from names, and boxes in lat/lon."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossgeo import geodesy
from crossgeo.errors import InputError, LimitError
from crossgeo.training.datasets.cvogl import placed, read_cvogl, read_g2d
from crossgeo.training.datasets.pictures import Pictures
from crossgeo.training.datasets.records import ObjectRecord
from crossgeo.training.datasets.write import write_cvogl, write_g2d

ROW = (
    131425, "131425_539733_4880095.jpg", "539827_4880079_300_32615.jpg", (383, 380), (191, 190), [258.56, 325.97, 592.76, 657.03],
    [496.0, 325.97, 592.76, 558.05, 355.29, 657.03, 258.56, 424.96], "building_retail",
)  # fmt: skip


def write_lists(root: Path, folder: str = "CVOGL_DroneAerial", **rows: Any) -> Path:
    """Write the three lists of a task."""
    (root / folder).mkdir(parents=True)
    for split in ("train", "val", "test"):
        torch.save(rows.get(split, []), root / folder / f"{folder}_{split}.pth")
    return root


def test_a_published_row_is_read_to_the_letter(tmp_path: Path) -> None:
    (pair,) = read_cvogl(write_lists(tmp_path, train=[ROW]), "drone")
    folder = tmp_path / "CVOGL_DroneAerial"
    assert (pair.id, pair.split, pair.task, pair.kind) == ("131425", "train", "drone", "building_retail")
    assert (pair.photo, pair.aerial) == (folder / "query" / ROW[1], folder / "satellite" / ROW[2])
    assert pair.click_px == (191.5, 190.5)  # the middle of the pixel of that number
    assert pair.box_px == tuple(ROW[5])
    assert pair.quad_px == tuple(ROW[6])


def test_the_place_comes_from_the_satellite_pictures_name(tmp_path: Path) -> None:
    (pair,) = read_cvogl(write_lists(tmp_path, train=[ROW]), "drone")
    assert (pair.aerial_crs, pair.aerial_origin_xy, pair.aerial_gsd_m) == ("EPSG:32615", (539_677.0, 4_880_229.0), 300 / 1024)
    lat, lon = pair.lat_lon_of((512.0, 512.0))
    assert geodesy.from_lat_lon(geodesy.parse_crs("EPSG:32615"), lat, lon) == pytest.approx((539_827.0, 4_880_079.0), abs=1e-3)
    north_east = geodesy.from_lat_lon(geodesy.parse_crs("EPSG:32615"), *pair.lat_lon_of((1024.0, 0.0)))
    assert north_east == pytest.approx((539_977.0, 4_880_229.0), abs=1e-3)


def test_a_name_without_a_place_gives_no_lat_lon(tmp_path: Path) -> None:
    (pair,) = read_cvogl(write_lists(tmp_path, train=[(*ROW[:2], "tile.jpg", *ROW[3:])]), "drone")
    with pytest.raises(InputError, match=r"tile\.jpg: its name carries no position"):
        pair.lat_lon_of((0.0, 0.0))


@pytest.mark.parametrize("name", ["tile.jpg", "1_2_3.jpg", "1_2_0_32615.jpg", "1_2_300_32615_5.jpg", "a_2_300_32615.jpg"])
def test_other_names_carry_no_place(name: str) -> None:
    assert placed(name) is None


def test_the_folder_of_the_task_itself_can_be_named(tmp_path: Path) -> None:
    write_lists(tmp_path, "CVOGL_SVI", test=[ROW])
    (pair,) = read_cvogl(tmp_path / "CVOGL_SVI", "street")
    assert (pair.split, pair.task) == ("test", "street")


def test_what_was_written_is_read_back(tmp_path: Path, objects: list[ObjectRecord]) -> None:
    assert write_cvogl(objects, tmp_path, "drone") == 4
    found = read_cvogl(tmp_path, "drone")
    assert (found.photo_px, found.aerial_px) == ((64, 64), (128, 128))
    with Pictures() as pictures:
        for pair, row in zip(found, objects, strict=True):
            assert (pair.id, pair.split, pair.kind, pair.click_px) == (row.id, row.split, row.kind, tuple(v + 0.5 for v in row.click_px))
            assert (pair.box_px, pair.quad_px, pair.aerial_crs) == (row.box_px, row.quad_px, row.crs)
            assert pair.aerial_gsd_m == 300 / 128
            assert row.aerial_centre_xy is not None
            middle = geodesy.from_lat_lon(geodesy.parse_crs("EPSG:32615"), *pair.lat_lon_of((64.0, 64.0)))
            assert middle == pytest.approx(row.aerial_centre_xy, abs=1e-3)
            assert np.abs(pictures.photo(pair).astype(int) - row.photo).mean() < 4.0
            assert np.abs(pictures.aerial(pair).astype(int) - row.aerial).mean() < 4.0


def test_a_written_row_is_the_published_tuple(tmp_path: Path, objects: list[ObjectRecord]) -> None:
    write_cvogl(objects, tmp_path, "drone")
    row = torch.load(tmp_path / "CVOGL_DroneAerial" / "CVOGL_DroneAerial_val.pth", weights_only=True)[0]
    assert row == (
        102, "102_541733_4880095.jpg", "541827_4880079_300_32615.jpg", (40, 62), (20, 31), [10.25, 12.0, 40.5, 50.75],
        [10.25, 12.0, 40.5, 12.0, 40.5, 50.75, 10.25, 50.75], "building",
    )  # fmt: skip
    assert [type(part) for part in row] == [int, str, str, tuple, tuple, list, list, str]


def test_objects_of_one_aerial_share_its_file(tmp_path: Path, objects: list[ObjectRecord]) -> None:
    twin = replace(objects[0], id="200", click_px=(1.0, 2.0))
    write_cvogl([*objects, twin], tmp_path, "drone")
    assert len(list((tmp_path / "CVOGL_DroneAerial" / "satellite").iterdir())) == 4
    assert len(list((tmp_path / "CVOGL_DroneAerial" / "query").iterdir())) == 5


def test_a_list_for_which_the_disk_has_no_room_leaves_no_set_behind(
    tmp_path: Path, objects: list[ObjectRecord], room_for: Callable[[int], AbstractContextManager[None]]
) -> None:
    rows = [replace(objects[0], id=str(200 + n)) for n in range(100)]
    said = r"CVOGL_DroneAerial: File too large; free some room, then run the same command again$"
    with room_for(10_000), pytest.raises(LimitError, match=said):
        write_cvogl(rows, tmp_path, "drone")
    assert list(tmp_path.iterdir()) == []


def test_two_aerials_under_one_name_are_refused(
    tmp_path: Path, objects: list[ObjectRecord], blobs: Callable[[int, int, int], NDArray[np.uint8]]
) -> None:
    with pytest.raises(InputError, match="539827_4880079_300_32615"):
        write_cvogl([objects[0], replace(objects[0], id="200", aerial=blobs(9, 128, 128))], tmp_path, "drone")


def test_a_middle_off_whole_metres_is_refused_since_the_name_could_not_carry_it(tmp_path: Path, objects: list[ObjectRecord]) -> None:
    with pytest.raises(InputError, match="whole metres"):
        write_cvogl([replace(objects[0], aerial_centre_xy=(539_827.5, 4_880_079.0))], tmp_path, "drone")


def test_g2d_has_the_same_layout_in_its_own_folder(tmp_path: Path, objects: list[ObjectRecord]) -> None:
    rows = [replace(row, task="street", crs=None, aerial_centre_xy=None, photo_xy=None) for row in objects]
    assert write_g2d(rows, tmp_path) == 4
    found = read_g2d(tmp_path)
    assert [(pair.id, pair.task, pair.aerial_crs) for pair in found] == [(row.id, "street", None) for row in objects]
    assert found.pairs[0].aerial == tmp_path / "CVOGL_G2D" / "satellite" / "100.jpg"


def test_a_record_of_the_other_task_is_refused(tmp_path: Path, objects: list[ObjectRecord]) -> None:
    with pytest.raises(InputError, match="does not belong"):
        write_cvogl(objects, tmp_path, "street")


@pytest.mark.parametrize(
    "row", [ROW[:7], (*ROW[:5], [1.0, 2.0], *ROW[6:]), (*ROW[:5], ["a"] * 4, *ROW[6:]), (*ROW[:4], (float("nan"), 1), *ROW[5:]), 7]
)
def test_a_row_that_is_no_tuple_of_cvogl_is_refused_by_number(tmp_path: Path, row: Any) -> None:
    with pytest.raises(InputError, match=r"CVOGL_DroneAerial_train\.pth, row 1"):
        read_cvogl(write_lists(tmp_path, train=[ROW, row]), "drone")


def test_a_list_that_would_run_code_is_refused(tmp_path: Path) -> None:
    write_lists(tmp_path, train=[ROW], val=[Path("x")])
    with pytest.raises(InputError, match="more than plain lists"):
        read_cvogl(tmp_path, "drone")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"text"])
def test_a_damaged_list_is_refused(tmp_path: Path, content: bytes) -> None:
    write_lists(tmp_path, train=[ROW])
    (tmp_path / "CVOGL_DroneAerial" / "CVOGL_DroneAerial_test.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"CVOGL_DroneAerial_test\.pth: damaged"):
        read_cvogl(tmp_path, "drone")


def test_empty_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        read_cvogl(write_lists(tmp_path), "drone")
