"""CVACT: the structure of ACT_data.mat, its counting from 1, and its positions to the millimetre."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from crossgeo.errors import InputError
from crossgeo.training.datasets.cvact import read_cvact
from crossgeo.training.datasets.pictures import Pictures
from crossgeo.training.datasets.records import PanoramaRecord
from crossgeo.training.datasets.write import write_cvact

IDS = ["aaaaaaaaaaaaaaaaaaaaaa", "-bbbbbbbbbbbbbbbbbbbb_", "cccccccccccccccccccccc", "dddddddddddddddddddddd"]
UTM = [[693_000.123, 6_090_000.456], [693_100.001, 6_090_000.0], [693_204.567, 6_090_001.0], [693_208.0, 6_090_001.0]]


def write_mat(folder: Path, **changed: Any) -> Path:
    """Write ACT_data.mat as the published one is built, and the folders of pictures."""
    content = {
        "panoIds": np.array(IDS),
        "utm": np.array(UTM),
        "trainSet": {"trainPano": np.array(IDS[:2]), "trainInd": np.array([[2], [1]], np.uint32)},
        "valSet": {"valPano": np.array(IDS[2:3]), "valInd": np.array([[3]], np.uint32)},
        "valSetAll": {"valPano": np.array(IDS[2:]), "valInd": np.array([[3], [4]], np.uint32)},
    }
    for name in ("ANU_data_small", "ANU_data_test"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(folder / "ACT_data.mat", {**content, **changed})
    return folder


def test_indices_count_from_one_and_keep_their_order(tmp_path: Path) -> None:
    found = read_cvact(write_mat(tmp_path))
    assert [(pair.split, pair.id) for pair in found] == [
        ("train", IDS[1]), ("train", IDS[0]), ("val", IDS[2]), ("test", IDS[2]), ("test", IDS[3]),
    ]  # fmt: skip


def test_positions_stay_float64(tmp_path: Path) -> None:
    found = read_cvact(write_mat(tmp_path), "train")
    assert [pair.xy for pair in found] == [tuple(UTM[1]), tuple(UTM[0])]
    assert float(np.float32(UTM[0][1])) != UTM[0][1]  # else the test above says nothing


def test_pictures_of_train_and_val_lie_apart_from_those_of_the_test(tmp_path: Path) -> None:
    write_mat(tmp_path)
    (val,), test = read_cvact(tmp_path, "val"), read_cvact(tmp_path, "test")
    assert val.photo == tmp_path / "ANU_data_small" / "streetview" / f"{IDS[2]}_grdView.jpg"
    assert val.aerial == tmp_path / "ANU_data_small" / "satview_polish" / f"{IDS[2]}_satView_polish.jpg"
    assert test.pairs[0].photo == tmp_path / "ANU_data_test" / "streetview" / f"{IDS[2]}_grdView.jpg"


def test_the_published_set_lies_in_canberra_at_zoom_20(tmp_path: Path) -> None:
    found = read_cvact(write_mat(tmp_path), "val")
    assert found.pairs[0].crs == "EPSG:32755"
    assert found.pairs[0].aerial_gsd_m == pytest.approx(0.1219, abs=2e-4)  # the paper says 0.12
    assert (found.photo_px, found.aerial_px) == ((1664, 832), (1200, 1200))


def test_places_elsewhere_are_given_no_crs(tmp_path: Path) -> None:
    found = read_cvact(write_mat(tmp_path, utm=np.array(UTM) + 500_000.0), "val")
    assert (found.pairs[0].crs, found.pairs[0].aerial_gsd_m) == (None, None)


def test_what_was_written_is_read_back_with_its_dense_test(tmp_path: Path, dense: list[PanoramaRecord]) -> None:
    assert write_cvact(dense, tmp_path / "set") == 7
    found = read_cvact(tmp_path / "set")
    rows = {row.id: row for row in dense}
    assert [pair.id for pair in found.split("train")] == ["pano000", "pano001"]
    assert [pair.id for pair in found.split("val")] == ["pano002", "pano003"]
    assert [pair.id for pair in found.split("test")] == ["pano002", "pano003", "pano010", "pano011", "pano012"]
    with Pictures() as pictures:
        for pair in found:
            row = rows[pair.id]
            assert (pair.xy, pair.crs, pair.aerial_gsd_m) == (row.xy, "EPSG:32755", 0.12)
            assert np.abs(pictures.photo(pair).astype(int) - row.panorama).mean() < 4.0
            assert np.abs(pictures.aerial(pair).astype(int) - row.aerial).mean() < 4.0


def test_readers_that_go_by_the_place_in_the_struct_find_the_indices(tmp_path: Path, dense: list[PanoramaRecord]) -> None:
    write_cvact(dense, tmp_path / "set")
    data = scipy.io.loadmat(tmp_path / "set" / "ACT_data.mat")
    assert data["trainSet"]["trainInd"][0][0].tolist() == [[1], [2]]
    assert data["valSetAll"][0][0][1].tolist() == [[3], [4], [5], [6], [7]]
    assert data["panoIds"][data["trainSet"][0][0][1] - 1].ravel().tolist() == ["pano000", "pano001"]
    assert data["utm"].dtype == np.float64


def test_ids_of_several_lengths_are_refused(tmp_path: Path, panoramas: list[PanoramaRecord]) -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match="one length"):
        write_cvact([panoramas[0], replace(panoramas[1], id="longer-one")], tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    write_mat(tmp_path)
    (tmp_path / "ANU_data_test").rmdir()
    assert "test" not in read_cvact(tmp_path).splits
    with pytest.raises(InputError, match="ANU_data_test"):
        read_cvact(tmp_path, "test")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trainSet": {"trainPano": 0, "trainInd": np.array([[5]])}}, r"1\.\.4"),
        ({"trainSet": {"trainPano": 0, "trainInd": np.array([[0]])}}, r"1\.\.4"),
        ({"trainSet": {"other": 0}}, "trainInd"),
        ({"utm": np.array(UTM)[:3]}, "4 panoIds and 3"),
        ({"utm": np.full((4, 2), np.nan)}, "no numbers"),
        ({"panoIds": np.array(["../../x", *IDS[1:]])}, "no file name"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    write_mat(tmp_path, **changed)
    with pytest.raises(InputError, match=said):
        read_cvact(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a MATLAB file at all, but long enough to have a header" * 9])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    write_mat(tmp_path)
    (tmp_path / "ACT_data.mat").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_cvact(tmp_path)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_mat(tmp_path) / "ACT_data.mat"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(InputError, match=r"ACT_data\.mat"):
        read_cvact(tmp_path)
