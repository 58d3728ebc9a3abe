"""Pictures of clicked objects: a row for all that was measured, and curves that pass through the shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crossgeo.models.attengeo import PRESETS, AttenGeo
from crossgeo.training.evaluation import object_plots
from crossgeo.training.evaluation.object_plots import save_object_plots
from crossgeo.training.evaluation.objects import FoundBox, ObjectModel, object_figures
from crossgeo.training.evaluation.objects_report import CHANCE, SWAPPED, ObjectReport

ROWS = ["all clicks (8)", "pond (6)", "bridge (2)"]


def found(*overlaps: float) -> list[FoundBox]:
    kinds = ["bridge", "bridge", "pond", "pond", "pond", "pond", "pond", "pond"]
    return [
        FoundBox(str(n), kind, (0.0, 0.0, 1.0, 1.0), iou, None, None) for n, (kind, iou) in enumerate(zip(kinds, overlaps, strict=True))
    ]


FIRST = found(0.0, 0.1, 0.2, 0.26, 0.4, 0.6, 0.7, 0.9)
SECOND = found(0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3)


@pytest.fixture(scope="module")
def model() -> ObjectModel:
    return ObjectModel("tiny", "0" * 64, AttenGeo(PRESETS["attengeo-s"]))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The first axes of each picture by its file's name."""
    kept: dict[str, Any] = {}
    save = object_plots.saved

    def keep(figure: Any, axes: Any, path: Path, columns: int) -> Path:
        kept[path.name] = axes
        return save(figure, axes, path, columns)

    monkeypatch.setattr(object_plots, "saved", keep)
    return kept


def rows_of(axes: Any) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_one_model_without_controls_has_a_row_for_all_and_for_each_kind(model: ObjectModel, drawn: dict[str, Any], tmp_path: Path) -> None:
    report = ObjectReport("clicks", "folder", "test", (model,), (FIRST,), {}, None, 0)
    assert save_object_plots(tmp_path, report) == [tmp_path / "accu.png", tmp_path / "iou.png"]
    assert rows_of(drawn["accu.png"]) == ROWS
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert picture.width > 600 and len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_seeds_controls_and_published_lines_stand_beside(model: ObjectModel, drawn: dict[str, Any], tmp_path: Path) -> None:
    controls = {SWAPPED: SECOND, CHANCE: FIRST}
    report = ObjectReport("CVOGL", "cvogl-drone", "val", (model, model), (FIRST, SECOND), controls, (model, SECOND), 0)
    save_object_plots(tmp_path, report)
    rows = rows_of(drawn["accu.png"])
    assert rows == [ROWS[0], "mean over 2 seeds", *ROWS[1:], SWAPPED, CHANCE, "published: AttenGeo"]
    shown = {float(x) for line in drawn["accu.png"].get_lines() if line.get_marker() in "osD" for x in line.get_xdata()}
    assert {62.5, 100.0, 81.25, 68.69} <= {round(x, 2) for x in shown}  # both seeds' accu@0.25, their mean, and the paper's
    assert [text.get_text() for text in drawn["accu.png"].figure.legends[0].get_texts()] == [
        "tiny, seed 1", "tiny, seed 2", "against: tiny",
    ]  # fmt: skip


def test_the_curve_of_overlaps_passes_through_the_shares(model: ObjectModel, drawn: dict[str, Any], tmp_path: Path) -> None:
    save_object_plots(tmp_path, ObjectReport("clicks", "folder", "test", (model,), (FIRST,), {}, None, 0))
    line = drawn["iou.png"].get_lines()[0]
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    for limit in (0.25, 0.5):
        share = object_figures(FIRST)[f"accu@{limit:g}"].value
        assert y[np.searchsorted(x, limit, side="right") - 1] == pytest.approx(100.0 * share)
    assert (np.diff(y) <= 0.0).all() and (y[0], y[-1]) == (100.0, 0.0)
