"""Bad input ends in a clear line and the right exit code, and nothing is lost (the list of the main job)."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rasterio.transform import Affine, from_origin

Refused = Callable[..., str]


def test_no_such_photo(city: Any, refused: Refused) -> None:
    assert "nowhere.jpg" in refused(3, "query", "nowhere.jpg", "--index", city.index, *city.weights)


def test_a_photo_that_is_no_image(city: Any, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("dear diary")
    assert "notes.jpg" in refused(3, "query", tmp_path / "notes.jpg", "--index", city.index, *city.weights)


@pytest.mark.parametrize("kept", [0, 3000])
def test_a_photo_that_is_empty_or_cut_short(city: Any, refused: Refused, tmp_path: Path, kept: int) -> None:
    (tmp_path / "cut.jpg").write_bytes(city.photo.read_bytes()[:kept])
    assert "cut.jpg" in refused(3, "query", tmp_path / "cut.jpg", "--index", city.index, *city.weights)


def test_a_photo_of_more_than_50_megapixels(city: Any, refused: Refused, tmp_path: Path) -> None:
    Image.new("L", (10_000, 6_000)).save(tmp_path / "huge.png")
    assert "60 megapixels" in refused(8, "query", tmp_path / "huge.png", "--index", city.index, *city.weights)


def test_a_decompression_bomb(city: Any, refused: Refused, tmp_path: Path) -> None:
    Image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 500_000
    assert "bomb.png" in refused(8, "query", tmp_path / "bomb.png", "--index", city.index, *city.weights)


@pytest.mark.parametrize("point", ["320,100", "-1,5", "5,240", "1e9,1"])
def test_a_point_outside_the_photo(city: Any, refused: Refused, point: str) -> None:
    assert "320 x 240" in refused(2, "query", city.photo, "--index", city.index, "--point", point, *city.weights)


def test_a_point_that_is_no_point(city: Any, refused: Refused) -> None:
    assert "--point" in refused(2, "query", city.photo, "--index", city.index, "--point", "12", *city.weights)


@pytest.mark.parametrize("option", ["--heading", "--fov", "--height-m", "--tilt", "--radius-m"])
@pytest.mark.parametrize("value", ["-400", "nan", "inf"])
def test_a_number_out_of_range_is_refused_before_anything_is_read(city: Any, geo: Any, tmp_path: Path, option: str, value: str) -> None:
    for command in (["query", tmp_path / "none.jpg"], ["batch", tmp_path / "none", "-o", tmp_path / "a.csv"]):
        done = geo(*command, "--index", city.index, "--near", "27,85", option, value, *city.weights)
        assert done.exit_code == 2, done.output
        assert option in done.stderr


def test_a_radius_around_nothing(city: Any, refused: Refused, tmp_path: Path) -> None:
    assert "--near" in refused(2, "query", city.photo, "--index", city.index, "--radius-m", "50", *city.weights)
    shutil.copy(city.photo, tmp_path)
    assert "--near" in refused(2, "batch", tmp_path, "-o", tmp_path / "a.csv", "--index", city.index, "--radius-m", "50", *city.weights)
    assert not (tmp_path / "a.csv").exists()


def test_a_picture_or_answers_where_none_can_be_written_are_refused_before_the_search(city: Any, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.csv").mkdir()
    index = ("--index", tmp_path / "none.geo")  # were the index looked at first, the message would name it
    for name in ("none/a", "note.txt/a", "n" * 300, "folder"):
        assert name in refused(3, "query", city.photo, "--save-plot", tmp_path / f"{name}.png", *index)
        assert name in refused(3, "batch", city.folder, "-o", tmp_path / f"{name}.csv", *index)
    (tmp_path / "photo.jpg").write_bytes(city.photo.read_bytes())
    assert "photo itself" in refused(2, "query", tmp_path / "photo.jpg", "--save-plot", tmp_path / "photo.jpg", *index)
    assert (tmp_path / "photo.jpg").read_bytes() == city.photo.read_bytes()


@pytest.mark.parametrize("name", ["note.txt/a", "n" * 300])
def test_a_folder_that_cannot_be_made_is_refused_before_the_work(refused: Refused, tmp_path: Path, name: str) -> None:
    (tmp_path / "note.txt").write_text("mine")
    for command in (("index", "build", "none.tif"), ("town", "make"), ("demo", "--town-only"), ("train", "egotr", "none.tif")):
        assert name in refused(3, *command, "--out", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_a_picture_of_a_kind_that_we_do_not_write(city: Any, refused: Refused) -> None:
    assert "answer.bmp" in refused(2, "query", city.photo, "--index", city.index, "--save-plot", "answer.bmp", *city.weights)


def test_no_index(city: Any, refused: Refused, tmp_path: Path) -> None:
    assert "no.geo" in refused(3, "query", city.photo, "--index", tmp_path / "no.geo", *city.weights)
    assert "no.geo" in refused(3, "index", "info", tmp_path / "no.geo")
    assert "no.geo" in refused(3, "index", "verify", tmp_path / "no.geo")


def test_an_exif_position_that_is_not_there(city: Any, refused: Refused) -> None:
    assert "EXIF" in refused(3, "query", city.photo, "--index", city.index, "--use-exif-position", *city.weights)


def build(city: Any, refused: Refused, code: int, source: Path, out: Path, *more: str) -> str:
    line = refused(code, "index", "build", source, "--out", out, "--stride-m", "30", *more, *city.place_weights)
    assert not (out / "CURRENT").exists(), "a build that failed must not publish an index"
    return line


def test_imagery_that_is_missing_or_no_imagery(city: Any, refused: Refused, tmp_path: Path) -> None:
    assert "none.tif" in build(city, refused, 3, tmp_path / "none.tif", tmp_path / "a.geo")
    (tmp_path / "text.tif").write_text("II*")
    assert "text.tif" in build(city, refused, 3, tmp_path / "text.tif", tmp_path / "a.geo")
    (tmp_path / "folder").mkdir()
    assert "folder" in build(city, refused, 3, tmp_path / "folder", tmp_path / "a.geo")


def test_imagery_without_a_crs(city: Any, refused: Refused, tmp_path: Path, write_ortho: Any, patchwork: Any, geo: Any) -> None:
    bare = write_ortho(tmp_path / "bare.tif", patchwork(2), crs=None)
    assert "--source-crs" in build(city, refused, 3, bare, tmp_path / "a.geo")
    done = geo("index", "build", bare, "--out", tmp_path / "a.geo", "--source-crs", "EPSG:32645", "--stride-m", "30", *city.place_weights)
    assert done.exit_code == 0, done.output


def test_imagery_of_no_data_at_all(city: Any, refused: Refused, tmp_path: Path, write_ortho: Any) -> None:
    empty = write_ortho(tmp_path / "empty.tif", np.zeros((480, 480, 3), np.uint8), nodata=0)
    assert "empty.tif" in build(city, refused, 3, empty, tmp_path / "a.geo")


def test_imagery_smaller_than_a_tile(city: Any, refused: Refused, tmp_path: Path, write_ortho: Any, patchwork: Any) -> None:
    small = write_ortho(tmp_path / "small.tif", patchwork(2, 80))
    build(city, refused, 3, small, tmp_path / "a.geo")


def test_a_crs_that_is_none_or_not_metric(city: Any, refused: Refused, tmp_path: Path) -> None:
    assert "EPSG:1" in build(city, refused, 3, city.ortho, tmp_path / "a.geo", "--crs", "EPSG:1")
    assert "4326" in build(city, refused, 2, city.ortho, tmp_path / "a.geo", "--crs", "EPSG:4326")


def test_odd_imagery_that_can_be_read_is_read(city: Any, tmp_path: Path, write_ortho: Any, patchwork: Any, geo: Any) -> None:
    rgb = patchwork(3)
    degrees = from_origin(85.6, 27.6, 2.5e-6, 2.3e-6)
    turned = Affine.translation(363_000.0, 3_057_600.0) * Affine.rotation(30.0) * Affine.scale(0.25, -0.25)
    kinds = {
        "degrees": write_ortho(tmp_path / "degrees.tif", rgb, crs="EPSG:4326", transform=degrees),
        "rotated": write_ortho(tmp_path / "rotated.tif", rgb, transform=turned),
        "deep": write_ortho(tmp_path / "deep.tif", rgb.astype(np.uint16) * 200),
        "grey": write_ortho(tmp_path / "grey.tif", rgb[..., 0]),
        "coarse": write_ortho(tmp_path / "coarse.tif", rgb, transform=from_origin(364_000.0, 3_057_600.0, 0.6, 0.6)),
    }
    done = geo("index", "build", *kinds.values(), "--out", tmp_path / "all.geo", "--stride-m", "30", *city.place_weights)
    assert done.exit_code == 0, done.output
    shown = geo("index", "info", tmp_path / "all.geo")
    assert all(f"{name}.tif" in shown.stdout for name in kinds)


def test_an_index_that_exists_stays_unless_told(
    city: Any, refused: Refused, tmp_path: Path, write_ortho: Any, patchwork: Any, geo: Any
) -> None:
    kept = tmp_path / "kept.geo"
    shutil.copytree(city.index, kept)
    before = (kept / "CURRENT").read_bytes()
    other = write_ortho(tmp_path / "other.tif", patchwork(4))
    arguments = ("index", "build", other, "--out", kept, "--stride-m", "30", *city.place_weights)
    assert "--overwrite" in refused(2, *arguments)
    assert (kept / "CURRENT").read_bytes() == before
    assert geo(*arguments, "--overwrite").exit_code == 0
    assert "other.tif" in geo("index", "info", kept).stdout


def test_a_file_where_the_index_should_be(city: Any, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "a.geo").write_text("mine")
    assert "a.geo" in refused(2, "index", "build", city.ortho, "--out", tmp_path / "a.geo", *city.place_weights)
    assert (tmp_path / "a.geo").read_text() == "mine"


def test_an_index_of_another_model(city: Any, refused: Refused, tmp_path: Path, untrained: Callable[..., None]) -> None:
    untrained(tmp_path, 7)
    assert "build it again" in refused(7, "query", city.photo, "--index", city.index, "--weights", tmp_path / "egotr.safetensors")


def test_weights_that_are_not_there(city: Any, refused: Refused, tmp_path: Path) -> None:
    assert "egotr-xxl" in refused(6, "query", city.photo, "--index", city.index, "--weights", "egotr-xxl")
    assert "none.safetensors" in refused(6, "query", city.photo, "--index", city.index, "--weights", tmp_path / "none.safetensors")
    for command in (("query", city.photo), ("batch", city.folder, "-o", tmp_path / "a.csv")):
        assert "attengeo-xl" in refused(6, *command, "--index", city.index, "--object-weights", "attengeo-xl", *city.place_weights)


def test_weights_with_a_wrong_hash(city: Any, refused: Refused, tmp_path: Path) -> None:
    data = bytearray((city.folder / "egotr.safetensors").read_bytes())
    data[-1000] ^= 1
    (tmp_path / "bent.safetensors").write_bytes(data)
    assert "bent.safetensors" in refused(6, "query", city.photo, "--index", city.index, "--weights", tmp_path / "bent.safetensors")


def test_weights_of_the_other_model(city: Any, refused: Refused) -> None:
    wrong = city.folder / "attengeo.safetensors"
    assert "attengeo" in refused(6, "query", city.photo, "--index", city.index, "--weights", wrong)
    place = ["--weights", city.folder / "egotr.safetensors", "--object-weights", city.folder / "egotr.safetensors"]
    known = ("--heading", "0", "--fov", "70", "--height-m", "57")  # of the photo: every pose is tried before its click is looked at
    assert "egotr" in refused(6, "query", city.photo, "--index", city.index, "--point", "160,120", *known, *place)
