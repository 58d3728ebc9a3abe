"""University-1652: a folder a building, many photos to one satellite picture."""

from pathlib import Path

import pytest

from crossgeo.errors import InputError
from crossgeo.training.datasets.university1652 import read_university1652


def write_set(root: Path) -> Path:
    """Write empty files where the pictures lie."""
    files = (
        "train/satellite/0839/0839.jpg", "train/drone/0839/image-01.jpeg", "train/drone/0839/image-02.jpeg", "train/street/0839/1.jpg",
        "train/google/0839/g.jpg", "test/gallery_satellite/0001/0001.jpg", "test/gallery_satellite/0002/0002.jpg",
        "test/query_drone/0001/image-01.jpeg", "test/query_street/0001/1.jpg",
    )  # fmt: skip
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_photos_of_a_building_share_its_place_and_its_aerial(tmp_path: Path) -> None:
    train = read_university1652(write_set(tmp_path)).split("train")
    assert [(pair.id, pair.place, pair.aerial_id) for pair in train] == [
        ("0839/image-01", "0839", "0839"), ("0839/image-02", "0839", "0839"),
    ]  # fmt: skip
    assert train.pairs[0].aerial == tmp_path / "train" / "satellite" / "0839" / "0839.jpg"


def test_what_the_set_does_not_say_is_none(tmp_path: Path) -> None:
    pair = read_university1652(write_set(tmp_path)).pairs[0]
    assert (pair.heading_deg, pair.fov_deg, pair.xy, pair.crs, pair.aerial_gsd_m) == (None,) * 5


def test_buildings_without_a_photo_are_distractors(tmp_path: Path) -> None:
    test = read_university1652(write_set(tmp_path)).split("test")
    assert [(a.id, a.place) for a in test.distractors] == [("0002", "0002")]


def test_other_views_have_their_own_photos(tmp_path: Path) -> None:
    write_set(tmp_path)
    assert [pair.id for pair in read_university1652(tmp_path, "street")] == ["0839/1", "0001/1"]
    assert [pair.id for pair in read_university1652(tmp_path, "google")] == ["0839/g"]


def test_photos_of_a_building_without_an_aerial_are_left_out_by_name(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "train" / "satellite" / "0839" / "0839.jpg").unlink()
    found = read_university1652(tmp_path)
    assert [pair.split for pair in found] == ["test"]
    assert [name for name, _ in found.left_out] == ["train/drone/0839/image-01.jpeg", "train/drone/0839/image-02.jpeg"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train/drone"):
        read_university1652(tmp_path)
