"""`check` finds what is wrong, names it, and finds nothing in what the writers write."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import from_origin

from crossgeo import geodesy
from crossgeo.errors import UsageError
from crossgeo.training.datasets.check import check
from crossgeo.training.datasets.records import ObjectRecord, PanoramaRecord
from crossgeo.training.datasets.write import write_cvact, write_cvogl, write_cvusa


@pytest.fixture
def cvact(tmp_path: Path, dense: list[PanoramaRecord]) -> Path:
    """Write a good CVACT."""
    write_cvact(dense, tmp_path / "set")
    return tmp_path / "set"


@pytest.fixture
def cvogl(tmp_path: Path, objects: list[ObjectRecord]) -> Path:
    """Write a good CVOGL."""
    write_cvogl(objects, tmp_path, "drone")
    return tmp_path


def test_a_good_set_has_no_problems_and_is_counted(cvact: Path) -> None:
    report = check(cvact)
    assert report.problems == [] and report.notes == []  # although the validation's photos come again in the test
    assert report.counts == {
        "CVACT train": 2, "CVACT val": 2, "CVACT test": 5, "CVACT test photos with another within 5 m": 3, "pictures": 18,
    }  # fmt: skip


def test_a_missing_picture_is_named_once(cvact: Path) -> None:
    (cvact / "ANU_data_small" / "streetview" / "pano001_grdView.jpg").unlink()
    (problem,) = check(cvact, "cvact").problems
    assert "pano001_grdView.jpg: no such file" in problem


def test_a_picture_cut_short_and_one_that_is_no_picture_are_found(cvact: Path) -> None:
    short = cvact / "ANU_data_small" / "satview_polish" / "pano000_satView_polish.jpg"
    short.write_bytes(short.read_bytes()[:-200])
    (cvact / "ANU_data_test" / "streetview" / "pano010_grdView.jpg").write_text("hello")
    first, second = check(cvact).problems
    assert "pano000_satView_polish.jpg" in first and "damaged" in first
    assert "pano010_grdView.jpg" in second and "not an image" in second


def test_pictures_of_another_size_are_found(cvact: Path) -> None:
    Image.new("RGB", (60, 64)).save(cvact / "ANU_data_small" / "satview_polish" / "pano002_satView_polish.jpg")
    (problem,) = check(cvact).problems
    assert problem.endswith("pano002_satView_polish.jpg: 60 x 64 px, where CVACT has 64 x 64")


def test_a_public_copy_must_have_the_published_sizes(cvact: Path) -> None:
    (cvact / "crossgeo.json").unlink()
    problems = check(cvact).problems
    assert sum("where CVACT has 1664 x 832" in line for line in problems) == 9
    assert sum("where CVACT has 1200 x 1200" in line for line in problems) == 9


def test_ground_that_training_shares_with_another_split_is_found(tmp_path: Path, panoramas: list[PanoramaRecord]) -> None:
    x, y = panoramas[0].xy
    near = replace(panoramas[2], xy=(x + 7.6, y - 7.6))  # aerials are 64 px of 0.12 m, 7.68 m
    write_cvusa([*panoramas[:2], near, panoramas[3]], tmp_path / "near")
    write_cvusa([*panoramas[:2], replace(near, xy=(x + 7.7, y)), panoramas[3]], tmp_path / "far")
    (problem,) = check(tmp_path / "near").problems
    assert "1 of 2 aerials of val show ground that train shows too" in problem
    assert check(tmp_path / "far").problems == []


def test_an_id_that_comes_twice_is_found(tmp_path: Path, panoramas: list[PanoramaRecord]) -> None:
    write_cvusa(panoramas, tmp_path / "set")
    path = tmp_path / "set" / "splits" / "val-19zl.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    assert check(tmp_path / "set").problems == ["CVUSA: the id pano002 comes 2 times in val"]


def test_a_good_object_set_has_no_problems(cvogl: Path) -> None:
    report = check(cvogl)
    assert report.problems == []
    assert report.counts == {"CVOGL drone train": 2, "CVOGL drone val": 1, "CVOGL drone test": 1, "pictures": 8}


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (4, (64, 31), "the click 64,31 is outside its photo of 64 x 64 px"),
        (4, (20, -1), "the click 20,-1 is outside"),
        (5, [10.0, 12.0, 128.5, 50.0], "leaves its aerial of 128 x 128 px"),
        (5, [-0.5, 12.0, 40.0, 50.0], "leaves its aerial"),
        (5, [40.0, 12.0, 40.0, 50.0], "is empty"),
    ],
)
def test_clicks_and_boxes_outside_of_their_pictures_are_found(cvogl: Path, column: int, value: object, said: str) -> None:
    path = cvogl / "CVOGL_DroneAerial" / "CVOGL_DroneAerial_test.pth"
    rows = torch.load(path, weights_only=True)
    torch.save([tuple(value if n == column else part for n, part in enumerate(rows[0]))], path)
    (problem,) = check(cvogl).problems
    assert "test 103" in problem
    assert said in problem


def test_objects_whose_aerials_overlap_training_are_found(tmp_path: Path, objects: list[ObjectRecord]) -> None:
    rows = [*objects[:3], replace(objects[3], aerial_centre_xy=(539_827.0 + 299.0, 4_880_079.0))]
    write_cvogl(rows, tmp_path, "drone")
    (problem,) = check(tmp_path).problems
    assert "1 of 1 aerials of test show ground that train shows too" in problem


def test_a_folder_needs_its_imagery_and_other_layouts_take_none(cvact: Path) -> None:
    with pytest.raises(UsageError, match="imagery"):
        check(cvact, "folder")
    with pytest.raises(UsageError, match="imagery"):
        check(cvact, "cvact", imagery=[cvact / "x.tif"])


def write_photo(path: Path, east_m: float, heading: tuple[str, float] | None = None, focal_mm: int | None = None) -> None:
    """Write a photo of a place in the imagery of `ortho`, its colours its own."""
    exif = Image.Exif()
    gps = exif.get_ifd(0x8825)
    lat, lon = geodesy.to_lat_lon(geodesy.parse_crs("EPSG:32645"), 363_020.0 + east_m, 3_057_560.0)
    gps[1], gps[2], gps[3], gps[4] = "N", (lat, 0.0, 0.0), "E", (lon, 0.0, 0.0)
    if heading is not None:
        gps[16], gps[17] = heading
    if focal_mm is not None:
        exif.get_ifd(0x8769)[0xA405] = focal_mm
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(round(east_m)).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((128, 96), Image.Resampling.BICUBIC).save(path, exif=exif)


@pytest.fixture
def ortho(tmp_path: Path) -> Path:
    """Write 100 m of imagery."""
    profile = {"driver": "GTiff", "width": 100, "height": 100, "count": 3, "dtype": "uint8", "crs": "EPSG:32645"}
    with rasterio.open(tmp_path / "ortho.tif", "w", transform=from_origin(363_000.0, 3_057_600.0, 1.0, 1.0), **profile) as file:
        file.write(np.full((3, 100, 100), 90, np.uint8))
    return tmp_path / "ortho.tif"


def test_photos_of_a_folder_that_training_cannot_take_or_guesses_about_are_counted(tmp_path: Path, ortho: Path) -> None:
    photos = tmp_path / "photos"
    for number, heading in enumerate((("T", 10.0), None, None, ("M", 20.0), ("T", 30.0))):
        write_photo(photos / f"p{number}.jpg", 10.0 * number, heading, focal_mm=None if number < 3 else 28)
    report = check(photos, "folder", [ortho])
    headless, magnetic = report.problems
    assert "2 of 5 photos cannot be trained on, the first p1.jpg: no heading" in headless
    assert "1 of 5 photos cannot be trained on, the first p3.jpg: its heading is against magnetic north" in magnetic
    (guessed,) = report.notes
    assert "3 of 5 photos do not say their field of view, the first p0.jpg: 67 degrees" in guessed


def test_a_folder_that_says_all_of_its_photos_is_whole(tmp_path: Path, ortho: Path) -> None:
    for number in range(3):
        write_photo(tmp_path / "photos" / f"p{number}.jpg", 10.0 * number, ("T", 10.0), focal_mm=28)
    report = check(tmp_path / "photos", "folder", [ortho])
    assert (report.problems, report.notes) == ([], [])


def test_photos_of_a_folder_that_come_twice_are_noted(tmp_path: Path, ortho: Path) -> None:
    for name, east_m in (("a", 0.0), ("b", 20.0), ("c", 0.0), ("d", 0.4)):
        write_photo(tmp_path / "photos" / f"{name}.jpg", east_m, ("T", 10.0), focal_mm=28)
    report = check(tmp_path / "photos", "folder", [ortho])
    assert report.problems == []
    (twice,) = report.notes
    assert "photo and aerial, which training leaves out: 2; the first, c.jpg of all, looks like a.jpg" in twice


def test_progress_counts_pictures(cvogl: Path) -> None:
    seen: list[tuple[int, int]] = []
    check(cvogl, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (8, 8)


def test_a_picture_used_by_many_pairs_is_looked_at_once(
    tmp_path: Path, objects: list[ObjectRecord], blobs: Callable[[int, int, int], NDArray[np.uint8]]
) -> None:
    twins = [replace(objects[0], id=str(200 + n), photo=blobs(n, 64, 64)) for n in range(3)]
    write_cvogl([*objects, *twins], tmp_path, "drone")
    assert check(tmp_path).counts["pictures"] == 4 + 7
