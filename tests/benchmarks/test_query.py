"""benchmarks/query.py: its figures are quartiles over the answers that went through a stage, and photos come without their EXIF."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from crossgeo.demo import Question
from crossgeo.engine.photo import Photo


@pytest.fixture
def query(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(folder)  # benchmarks are scripts: they import each other by bare names
    spec = importlib.util.spec_from_file_location("benchmarks_query", folder / "query.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("common", "ground_truth"):
        monkeypatch.delitem(sys.modules, name)
    return module


def test_a_spread_is_the_median_between_its_quartiles(query: ModuleType) -> None:
    assert query.spread([4.0, 1.0, 3.0, 2.0, 5.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0, "n": 5}
    assert query.spread([7.04]) == {"median": 7.0, "q1": 7.0, "q3": 7.0, "n": 1}


def test_a_stage_is_judged_by_the_answers_that_went_through_it_and_the_whole_comes_last(query: ModuleType) -> None:
    found = query.stages([{"decode": 1.0, "total": 1.0}, {"decode": 3.0, "object": 4.0, "total": 7.0}])
    assert list(found) == ["decode", "object", "total"]
    assert (found["decode"]["median"], found["object"], found["total"]["n"]) == (2.0, {"median": 4.0, "q1": 4.0, "q3": 4.0, "n": 1}, 2)


def test_a_question_tells_the_camera_only_where_it_should_and_never_the_heading(query: ModuleType, tmp_path: Path) -> None:
    path, exif = tmp_path / "photo.jpg", Image.Exif()
    exif[0x010F] = "a maker"
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(path, exif=exif)
    question = Question(path, 27.6, 85.5, 10.0, (3.0, 4.0))
    jpeg, told = query.asked(question, known=True)
    assert set(told) == {"kind", "point", "height_m", "fov_deg", "tilt_deg"} and told["point"] == (3.0, 4.0)
    assert b"a maker" in path.read_bytes() and b"a maker" not in jpeg
    assert Photo.read(jpeg).pixels.shape == (30, 40, 3)
    assert set(query.asked(question, known=False)[1]) == {"kind", "point"}


def test_the_bar_is_met_by_the_quickest_runtime(query: ModuleType) -> None:
    ways = {"torch fp32": {"whole_ms": {"median": 40.0}}, "torch-compile": {"whole_ms": {"median": 15.2}}}
    told = query.bar(ways)
    assert (told["best"], told["reached"], told["met"]) == ("torch-compile", 15.2, False)
    ways["torch"] = {"whole_ms": {"median": 14.9}}
    assert query.bar(ways)["met"] is True
