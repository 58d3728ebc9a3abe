"""What overlapping satellite pictures say of the ground that they show."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crossgeo import geodesy
from crossgeo.errors import InputError
from crossgeo.training.datasets.check import check
from crossgeo.training.datasets.cvogl import read_cvogl
from crossgeo.training.datasets.ground_size import verify_ground_size
from crossgeo.training.datasets.records import ObjectRecord
from crossgeo.training.datasets.write import write_cvogl

SIDE_PX, STEP_PX = 256, (80, 60)  # each picture lies 80 px east and 60 px south of the one before
X, Y = 539_827.0, 4_880_079.0


def write_row_of_tiles(
    root: Path, blobs: Callable[[int, int, int], NDArray[np.uint8]], template: ObjectRecord, step_m: tuple[float, float], count: int = 4
) -> Path:
    """Write tiles cut from one ground; their names say that they lie `step_m` apart."""
    ground = blobs(3, 600, 600)
    rows = []
    for n in range(count):
        left, top = n * STEP_PX[0], n * STEP_PX[1]
        tile = ground[top : top + SIDE_PX, left : left + SIDE_PX]
        centre = (X + n * step_m[0], Y - n * step_m[1])
        rows.append(replace(template, id=str(n), aerial=tile, aerial_centre_xy=centre, photo_xy=centre))
    write_cvogl(rows, root, "drone")
    return root


def test_names_that_agree_with_the_pictures_are_confirmed(
    tmp_path: Path, blobs: Callable[[int, int, int], NDArray[np.uint8]], objects: list[ObjectRecord]
) -> None:
    metres = 300.0 / SIDE_PX
    write_row_of_tiles(tmp_path, blobs, objects[0], (round(STEP_PX[0] * metres), round(STEP_PX[1] * metres)))
    found = verify_ground_size(read_cvogl(tmp_path, "drone"))
    assert found.measured_m == pytest.approx(300.0, rel=0.01)
    assert found.overlaps == 5  # three neighbours, and two that lie two apart
    assert found.agrees
    assert "as the names say" in found.words


def test_names_that_do_not_agree_are_found_out(
    tmp_path: Path, blobs: Callable[[int, int, int], NDArray[np.uint8]], objects: list[ObjectRecord]
) -> None:
    metres = 330.0 / SIDE_PX
    write_row_of_tiles(tmp_path, blobs, objects[0], (round(STEP_PX[0] * metres), round(STEP_PX[1] * metres)))
    found = verify_ground_size(read_cvogl(tmp_path, "drone"))
    assert found.measured_m == pytest.approx(330.0, rel=0.01)
    assert found.agrees is False
    assert "but the names say 300 m" in found.words


@pytest.mark.parametrize("north", ["true", "grid"])
def test_pictures_tell_which_north_is_up_where_the_two_lie_apart(
    tmp_path: Path, blobs: Callable[[int, int, int], NDArray[np.uint8]], objects: list[ObjectRecord], north: str
) -> None:
    west = geodesy.parse_crs("EPSG:32615")
    turn = geodesy.grid_convergence_deg(west, 300_000.0, Y)
    assert abs(turn) > 1.5
    metres = 300.0 / SIDE_PX
    rows = []
    ground = blobs(3, 700, 700)
    for n in range(4):
        bearing = math.atan2(n * STEP_PX[0], -n * STEP_PX[1]) - (math.radians(turn) if north == "true" else 0.0)
        far = n * math.hypot(*STEP_PX) * metres
        centre = (300_000.0 + round(far * math.sin(bearing)), Y + round(far * math.cos(bearing)))
        tile = ground[n * STEP_PX[1] : n * STEP_PX[1] + SIDE_PX, n * STEP_PX[0] : n * STEP_PX[0] + SIDE_PX]
        rows.append(replace(objects[0], id=str(n), aerial=tile, aerial_centre_xy=centre))
    write_cvogl(rows, tmp_path, "drone")
    found = verify_ground_size(read_cvogl(tmp_path, "drone"))
    assert found.north == north
    assert f"{north} north is up" in found.words


def test_photos_nearer_to_their_boxes_say_that_the_name_is_the_middle(
    tmp_path: Path, blobs: Callable[[int, int, int], NDArray[np.uint8]], objects: list[ObjectRecord]
) -> None:
    box = (118.0, 118.0, 138.0, 138.0)  # about the middle, where the photo was taken
    write_row_of_tiles(tmp_path, blobs, replace(objects[0], box_px=box), (94.0, 70.0))
    found = verify_ground_size(read_cvogl(tmp_path, "drone"))
    assert found.photo_to_box_m == pytest.approx(0.0, abs=1.0)
    assert found.photo_to_box_if_corner_m == pytest.approx(150.0 * 2**0.5, abs=1.0)


def test_a_data_check_says_what_overlaps_measure_and_takes_a_wrong_name_for_a_problem(
    tmp_path: Path, blobs: Callable[[int, int, int], NDArray[np.uint8]], objects: list[ObjectRecord]
) -> None:
    for name, side_m in (("right", 300.0), ("wrong", 330.0)):
        metres = side_m / SIDE_PX
        write_row_of_tiles(tmp_path / name, blobs, objects[0], (round(STEP_PX[0] * metres), round(STEP_PX[1] * metres)))
    (note,) = check(tmp_path / "right", "cvogl-drone").notes
    assert note.startswith("CVOGL drone: 5 overlaps measure 300") and "m from their boxes if a name is its picture's middle" in note
    report = check(tmp_path / "wrong", "cvogl-drone")
    assert any("but the names say 300 m" in problem for problem in report.problems) and not report.notes


def test_tiles_that_lie_apart_measure_nothing(tmp_path: Path, objects: list[ObjectRecord]) -> None:
    write_cvogl(objects, tmp_path, "drone")
    found = verify_ground_size(read_cvogl(tmp_path, "drone"))
    assert (found.measured_m, found.agrees, found.overlaps) == (None, None, 0)
    assert "no pictures overlap" in found.words


def test_names_without_a_place_leave_nothing_to_verify(tmp_path: Path, objects: list[ObjectRecord]) -> None:
    write_cvogl([replace(row, crs=None) for row in objects], tmp_path, "drone")
    with pytest.raises(InputError, match="nothing to verify"):
        verify_ground_size(read_cvogl(tmp_path, "drone"))
