"""Reports: all cells with their controls, published lines beside ours, plain JSON and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crossgeo.errors import MismatchError
from crossgeo.models.panorama import PanoramaView
from crossgeo.training.datasets.cvact import read_cvact
from crossgeo.training.datasets.published import BOXES, RETRIEVAL, published_retrieval
from crossgeo.training.evaluation.describing import PairModel
from crossgeo.training.evaluation.plots import save_plots
from crossgeo.training.evaluation.report import surroundings, write_report
from crossgeo.training.evaluation.retrieval_report import RetrievalReport, RetrievalSettings, evaluate_retrieval, shown_fovs

Quiet = Callable[[str, int, int], None]


@pytest.fixture(scope="module")
def report(cvact: Path, colours: PairModel, quiet: Quiet) -> RetrievalReport:
    settings = RetrievalSettings(("5m", "id"), (360.0, 90.0), headings=4)
    every = read_cvact(cvact)
    return evaluate_retrieval(every.split("test"), [colours, colours], settings, quiet, training=every.split("train"), against=colours)


def test_every_cell_has_all_its_figures_and_controls(report: RetrievalReport) -> None:
    plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert [(cell["fov_deg"], cell["heading"]) for cell in plain["cells"]] == [
        (360.0, "known"), (360.0, "unknown"), (90.0, "known"), (90.0, "unknown"),
    ]  # fmt: skip
    known, unknown = plain["cells"][:2]
    assert set(known["controls"]) == {"heading shifted at random", "untrained network", "histograms"}
    assert set(unknown["controls"]) == {"untrained network", "histograms"}
    assert set(known["chance"]) == {"5m", "id", "metres"} and "heading" in unknown["chance"]
    assert known["models"][0]["id"]["R@1"]["value"] == 1.0 and known["models"][0]["metres"]["within_5_m"]["value"] == 1.0
    assert known["over_seeds"]["5m"]["R@1"]["count"] == 2
    assert known["against"]["id"]["R@1"]["value"] == 0.0
    assert known["controls"]["untrained network"]["id"]["R@1"]["value"] < 0.8
    assert "plain correlation" in plain["histograms"]  # four training pairs teach nothing


def test_both_protocols_are_named_and_the_published_lines_go_with_theirs(report: RetrievalReport) -> None:
    plain = report.to_json()
    assert set(plain["protocols"]) == {"5m", "id"}
    lines = {(line["method"], line["protocol"]): line["recalls"][0] for line in plain["published"]}
    assert lines == {("EgoTR", "5m"): 58.33, ("Polar-EgoTR", "5m"): 60.72, ("Sample4Geo", "id"): 71.51}
    assert "ranks" in plain["rules"]["R@1%"] and "no credit" in plain["rules"]["tie"]


def test_what_was_published_names_its_source_and_is_in_percent() -> None:
    assert all(line.source and 0.0 < line.recalls[0] <= 100.0 for line in RETRIEVAL)
    assert all(line.source and line.accu[0] >= line.accu[1] > 1.0 for line in BOXES)
    assert published_retrieval("cvact", "test", "5m") != published_retrieval("cvact", "test", "id")
    assert published_retrieval("folder", "all", "id") == ()


def test_fields_of_view_are_those_that_the_photos_can_show(cvact: Path) -> None:
    pairs = read_cvact(cvact)
    assert shown_fovs(pairs, (360.0, 90.0)) == [360.0, 90.0]
    narrow = type(pairs)(**{**vars(pairs), "pairs": tuple(type(p)(**{**vars(p), "fov_deg": 67.0}) for p in pairs)})
    assert shown_fovs(narrow, (360.0, 90.0)) == [67.0]
    assert shown_fovs(narrow, (360.0, 50.0)) == [50.0]


def test_weights_of_several_kinds_are_refused_together(cvact: Path, colours: PairModel, quiet: Quiet) -> None:
    other = type(colours)(**{**vars(colours), "kind": "street"})
    with pytest.raises(MismatchError, match="several kinds"):
        evaluate_retrieval(read_cvact(cvact).split("test"), [colours, other], RetrievalSettings(("id",)), quiet)


def test_pictures_are_drawn_of_what_was_measured(report: RetrievalReport, tmp_path: Path) -> None:
    written = save_plots(tmp_path, report.cells, report.references, "CVACT test")
    assert [path.name for path in written] == ["recall.png", "errors.png", "fov.png"]
    for path in written:
        with Image.open(path) as picture:
            assert picture.width > 600
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_a_report_says_where_it_was_measured_and_appears_whole(tmp_path: Path) -> None:
    around = surroundings()
    assert around["machine"]["cores"] and around["versions"]["torch"] and around["crossgeo"]
    write_report(tmp_path / "report.json", {"a": 1, **around})
    assert json.loads((tmp_path / "report.json").read_text())["a"] == 1
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(tmp_path / "broken.json", {"a": float("nan")})
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_loaded_network_goes_through_the_whole_report(cvact: Path, save_tiny: Callable[..., Path], quiet: Quiet) -> None:
    view = PanoramaView((32, 128), (32, 128), True).to_dict()
    models = [PairModel.load(str(save_tiny(f"seed{n}", view, seed=n))) for n in range(2)]
    settings = RetrievalSettings(("id",), (360.0,), (False,), headings=3, controls=False)
    plain = evaluate_retrieval(read_cvact(cvact).split("test"), models, settings, quiet).to_json()
    assert [model["name"] for model in plain["models"]] == ["seed0", "seed1"]
    assert plain["cells"][0]["controls"] == {} and plain["histograms"] is None
