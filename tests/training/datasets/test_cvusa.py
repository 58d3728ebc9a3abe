"""CVUSA: what is written is read back, and what is read is what the published lists say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crossgeo.errors import InputError
from crossgeo.kernels.polar import polar_definition
from crossgeo.training.datasets.cvusa import read_cvusa
from crossgeo.training.datasets.pictures import Pictures
from crossgeo.training.datasets.records import PanoramaRecord
from crossgeo.training.datasets.write import write_cvusa


def test_what_was_written_is_read_back(tmp_path: Path, panoramas: list[PanoramaRecord]) -> None:
    assert write_cvusa(panoramas, tmp_path / "set") == 4
    found = read_cvusa(tmp_path / "set")
    assert found.splits == ("train", "val")
    with Pictures() as pictures:
        for pair, row in zip(found, panoramas, strict=True):
            assert (pair.id, pair.split, pair.xy, pair.crs) == (row.id, row.split, row.xy, row.crs)
            assert (pair.heading_deg, pair.fov_deg, pair.aerial_gsd_m, pair.aerial_centre_xy) == (0.0, 360.0, 0.12, row.xy)
            assert np.abs(pictures.photo(pair).astype(int) - row.panorama).mean() < 4.0
            assert np.abs(pictures.aerial(pair).astype(int) - row.aerial).mean() < 4.0


def test_the_lists_and_files_are_the_published_ones(tmp_path: Path, panoramas: list[PanoramaRecord]) -> None:
    write_cvusa(panoramas, tmp_path / "set")
    lines = (tmp_path / "set" / "splits" / "train-19zl.csv").read_text().splitlines()
    assert lines[0] == "bingmap/19/pano000.jpg,streetview/panos/pano000.jpg,streetview/annotations/pano000.png"
    assert len(lines) == 2
    assert (tmp_path / "set" / "splits" / "val-19zl.csv").is_file()
    assert (tmp_path / "set" / "bingmap" / "19" / "pano003.jpg").is_file()


def test_polar_pictures_are_the_polar_transform_of_the_aerials(tmp_path: Path, panoramas: list[PanoramaRecord]) -> None:
    write_cvusa(panoramas, tmp_path / "set")
    found = np.asarray(Image.open(tmp_path / "set" / "polarmap" / "19" / "pano002.png"))
    wanted = polar_definition(torch.from_numpy(panoramas[2].aerial).permute(2, 0, 1)[None].double())[0].permute(1, 2, 0).numpy()
    assert found.shape == (128, 512, 3)
    assert np.abs(found - wanted).max() <= 0.51


def test_a_public_copy_has_no_positions_and_the_published_sizes(tmp_path: Path, panoramas: list[PanoramaRecord]) -> None:
    write_cvusa(panoramas, tmp_path / "set")
    (tmp_path / "set" / "crossgeo.json").unlink()
    found = read_cvusa(tmp_path / "set")
    assert {(pair.xy, pair.crs, pair.aerial_gsd_m) for pair in found} == {(None, None, None)}
    assert (found.photo_px, found.aerial_px) == ((1232, 224), (750, 750))


def test_lists_in_the_root_itself_are_found(tmp_path: Path) -> None:
    (tmp_path / "train-19zl.csv").write_text("bingmap/19/0000002.jpg,streetview/panos/0000002.jpg,streetview/annotations/0000002.png\n")
    (tmp_path / "val-19zl.csv").write_text("")
    (pair,) = read_cvusa(tmp_path)
    assert pair.photo == tmp_path / "streetview" / "panos" / "0000002.jpg"


@pytest.mark.parametrize("line", ["bingmap/19/1.jpg", "../1.jpg,streetview/1.jpg", "/etc/passwd,streetview/1.jpg"])
def test_a_line_that_is_none_of_cvusas_is_refused_by_name(tmp_path: Path, line: str) -> None:
    (tmp_path / "train-19zl.csv").write_text(line + "\n")
    (tmp_path / "val-19zl.csv").write_text("")
    with pytest.raises(InputError, match=r"train-19zl\.csv"):
        read_cvusa(tmp_path)


def test_empty_lists_are_refused(tmp_path: Path) -> None:
    for name in ("train-19zl.csv", "val-19zl.csv"):
        (tmp_path / name).write_text("\n")
    with pytest.raises(InputError, match="empty"):
        read_cvusa(tmp_path)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train-19zl.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="cannot be read"):
        read_cvusa(tmp_path)
