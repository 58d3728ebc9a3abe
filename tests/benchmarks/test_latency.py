"""benchmarks/latency.py: its figures are quartiles over the answers that went through a stage."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from crossgeo.engine.evaluate import Truth
from crossgeo.engine.exif import PhotoExif
from crossgeo.engine.photo import Photo


@pytest.fixture
def latency(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(folder)  # benchmarks are scripts: they import each other by bare names
    spec = importlib.util.spec_from_file_location("benchmarks_latency", folder / "latency.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("common", "ground_truth"):
        monkeypatch.delitem(sys.modules, name)
    return module


def test_a_spread_is_the_median_between_its_quartiles(latency: ModuleType) -> None:
    assert latency.spread([4.0, 1.0, 3.0, 2.0, 5.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0, "n": 5}
    assert latency.spread([7.04]) == {"median": 7.0, "q1": 7.0, "q3": 7.0, "n": 1}


def test_a_stage_is_judged_by_the_answers_that_went_through_it_and_the_whole_comes_last(latency: ModuleType) -> None:
    found = latency.stages([{"decode": 1.0, "total": 1.0}, {"decode": 3.0, "object": 4.0, "total": 7.0}])
    assert list(found) == ["decode", "object", "total"]
    assert (found["decode"]["median"], found["object"], found["total"]["n"]) == (2.0, {"median": 4.0, "q1": 4.0, "q3": 4.0, "n": 1}, 2)


def test_a_question_tells_the_camera_and_the_point_only_where_it_should(latency: ModuleType) -> None:
    exif = PhotoExif(height_m=80.0, fov_deg=70.0, tilt_deg=5.0)
    truth = Truth(Photo.from_pixels(np.zeros((30, 40, 3), np.uint8), exif=exif), 27.6, 85.5, point=(3.0, 4.0))
    jpeg, everything = latency.question(truth, known=True, clicked=True)
    assert everything == {"height_m": 80.0, "fov_deg": 70.0, "tilt_deg": 5.0, "point": (3.0, 4.0)}
    assert Photo.read(jpeg).exif.height_m is None
    assert latency.question(truth, known=False, clicked=False)[1] == {}
