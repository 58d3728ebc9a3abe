"""`geo data check` prints what is wrong and ends with a code that says so."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from crossgeo.cli import app
from crossgeo.training.datasets.records import PanoramaRecord
from crossgeo.training.datasets.write import write_cvact


@pytest.fixture
def geo() -> Callable[..., Result]:
    """Return the function that runs the command line in this process."""
    return lambda *args: CliRunner().invoke(app, [str(arg) for arg in args], prog_name="geo")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Write a small good set."""
    grey = np.full((16, 64, 3), 128, np.uint8)
    rows = [
        PanoramaRecord(f"p{n}", grey, grey[:, :16], (693_000.0 + 1000.0 * n, 6_090_000.0), "EPSG:32755", split, 0.12)
        for n, split in enumerate(("train", "train", "val", "test"))
    ]
    write_cvact(rows, tmp_path / "set")
    return tmp_path / "set"


def test_a_whole_set_ends_with_0_and_is_counted(geo: Callable[..., Result], dataset: Path) -> None:
    done = geo("data", "check", dataset, "--layout", "cvact")
    assert done.exit_code == 0, done.output
    assert done.stderr.strip().endswith("whole")
    assert [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("CVACT train")] == ["2"]


def test_problems_are_printed_up_to_a_number_and_counted(geo: Callable[..., Result], dataset: Path) -> None:
    for path in (dataset / "ANU_data_small" / "streetview").iterdir():
        path.write_bytes(path.read_bytes()[:-40])
    done = geo("data", "check", dataset, "--show", "1")
    assert done.exit_code == 3
    assert sum("damaged" in line for line in done.stdout.splitlines()) == 1
    assert "... and 2 more" in done.stdout
    assert "3 problems found" in done.stderr


def test_json_holds_every_problem(geo: Callable[..., Result], dataset: Path) -> None:
    (dataset / "ANU_data_test" / "streetview" / "p3_grdView.jpg").unlink()
    done = geo("data", "check", dataset, "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 3
    assert report["counts"]["CVACT test"] == 2
    assert len(report["problems"]) == 1 and "p3_grdView.jpg" in report["problems"][0]


def test_a_folder_of_no_layout_ends_with_3_and_an_unknown_layout_with_2(geo: Callable[..., Result], tmp_path: Path) -> None:
    assert geo("data", "check", tmp_path).exit_code == 3
    assert geo("data", "check", tmp_path, "--layout", "imagenet").exit_code == 2
