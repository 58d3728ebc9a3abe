"""`geo data write` writes a town that `geo town make` made."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crossgeo.cli import app
from crossgeo.town.camera import Camera
from crossgeo.town.write import write_town
from crossgeo.training.datasets.check import check


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Make two small towns, just wide enough for CVOGL's aerials."""
    folder = tmp_path_factory.mktemp("towns")
    for seed in (3, 4):
        write_town(folder / str(seed), seed, 340.0, photos=2, objects_per_photo=2, camera=Camera(60.0, 160, 120), gsd_m=0.5)
    return [folder / "3", folder / "4"]


def test_made_towns_become_a_whole_set(tmp_path: Path, towns: list[Path]) -> None:
    options = [option for town in towns for option in ("--town", str(town))]
    done = CliRunner().invoke(app, ["data", "write", "--layout", "cvogl-drone", *options, "--out", str(tmp_path / "set"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["counts"]["train"] > 0 and found["counts"]["test"] > 0 and found["counts"]["val"] == 0
    report = check(tmp_path / "set")
    assert report.problems == []
    assert report.counts["CVOGL drone train"] == found["counts"]["train"]


def test_a_folder_that_exists_is_left_alone(tmp_path: Path, towns: list[Path]) -> None:
    done = CliRunner().invoke(app, ["data", "write", "--layout", "cvact", "--town", str(towns[0]), "--out", str(tmp_path)])
    assert done.exit_code == 3
    assert list(tmp_path.iterdir()) == []
