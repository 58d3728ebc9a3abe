"""Layouts that have to be named are checked, trained on and judged by their names."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from crossgeo.cli import app
from crossgeo.commands.options import DATA_LAYOUTS
from crossgeo.training.datasets.layouts import LAYOUTS

QUICK = ["--device", "cpu", "--workers", "0", "--batch", "2", "--steps", "1"]


def geo(*args: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(arg) for arg in args], prog_name="geo")
    return result.exit_code, " ".join(result.output.split())


def save(path: Path, seed: int, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)).save(path)


@pytest.fixture(scope="module")
def vigor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cities, each of four aerials 33 m apart and two panoramas."""
    root = tmp_path_factory.mktemp("vigor")
    for city, lat, lon in (("Seattle", 47.6, -122.33), ("Chicago", 41.88, -87.63)):
        names = [f"satellite_{lat + 0.0003 * n:.6f}_{lon:.6f}.png" for n in range(4)]
        photos = [f"{city}{n},{lat + 0.0003 * n:.6f},{lon:.6f},.jpg" for n in range(2)]
        lines = [f"{photo} {names[n]} 0 0 {names[n + 1]} 0 0 {names[n + 2]} 0 0 {names[3]} 0 0\n" for n, photo in enumerate(photos)]
        lists = root / "splits" / city
        lists.mkdir(parents=True)
        (lists / "satellite_list.txt").write_text("\n".join(names))
        (lists / "same_area_balanced_train.txt").write_text(lines[0])
        (lists / "same_area_balanced_test.txt").write_text(lines[1])
        (lists / "pano_label_balanced.txt").write_text("".join(lines))
        for number, name in enumerate(names):
            save(root / city / "satellite" / name, number + len(city), 640, 640)
        for number, name in enumerate(photos):
            save(root / city / "panorama" / name, 50 + number + len(city), 2048, 1024)
    return root


@pytest.fixture(scope="module")
def university(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four buildings, two of them to be asked about, each with two photos of every kind."""
    root, seed = tmp_path_factory.mktemp("university"), 0
    for building, part in (("0839", "train"), ("0840", "train"), ("0001", "test"), ("0002", "test")):
        asked = ["test/query_drone", "test/query_street"]
        folders = ["train/drone", "train/street", "train/google"] if part == "train" else asked
        save(root / ("train/satellite" if part == "train" else "test/gallery_satellite") / building / f"{building}.jpg", 900 + seed, 64, 64)
        for folder in folders:
            for number in range(2):
                seed += 1
                save(root / folder / building / f"{folder[-3:]}{number}.jpg", seed, 80, 64)
    return root


def test_help_names_every_layout_that_is_read() -> None:
    assert set(DATA_LAYOUTS.replace("(", "").replace(")", "").replace(",", "").split()) == set(LAYOUTS)


def test_ground_that_vigors_same_area_lists_share_is_no_problem(vigor: Path) -> None:
    code, said = geo("data", "check", vigor)
    assert code == 0, said
    assert "VIGOR: 1 of 1 aerials of test show ground that train shows too (EPSG:32610), as VIGOR's same-area lists are meant to" in said


def test_vigor_by_cities_shares_no_ground(vigor: Path) -> None:
    code, said = geo("data", "check", vigor, "--layout", "vigor-cross")
    assert code == 0, said
    assert "VIGOR cross-area train 2" in said and "VIGOR cross-area test 2" in said
    assert "shows too" not in said


@pytest.mark.parametrize("layout", ["university1652", "university1652-street", "university1652-google"])
def test_each_kind_of_photo_of_university_1652_is_checked_trained_on_and_judged(
    university: Path, street_city: Any, tmp_path: Path, layout: str
) -> None:
    code, said = geo("data", "check", university, "--layout", layout)
    kind = layout.partition("-")[2] or "drone"
    assert code == 0, said
    assert f"University-1652 {kind} train 4" in said and (f"University-1652 {kind} test 4" in said) == (kind != "google")
    source = ["--data", university, "--layout", layout, "--recipe", "paper", "--start-from", street_city.weights]
    code, said = geo("train", "egotr", *source, "--out", tmp_path / "run", *QUICK)
    assert code == 0, said
    weights = tmp_path / "run" / "weights.safetensors"
    code, said = geo("eval", "retrieval", university, "--layout", layout, "--weights", weights, "--no-controls")
    assert code == 0, said
    assert "protocol place: " in said


def test_vigor_by_cities_is_trained_on_and_judged(vigor: Path, street_city: Any, tmp_path: Path) -> None:
    source = ["--data", vigor, "--layout", "vigor-cross", "--recipe", "paper", "--start-from", street_city.weights]
    code, said = geo("train", "egotr", *source, "--out", tmp_path / "run", *QUICK)
    assert code == 0, said
    weights = tmp_path / "run" / "weights.safetensors"
    asked = ["--weights", weights, "--no-controls", "--fov", "360", "--heading", "known"]
    code, said = geo("eval", "retrieval", vigor, "--layout", "vigor-cross", *asked)
    assert code == 0, said
    assert "protocol covering: " in said and "VIGOR cross-area" in said
