"""Boxes: in pixels of the picture, not of a cell; in metres on the ground; controls that must be worse."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crossgeo.errors import InputError, MismatchError
from crossgeo.geodesy import distance_m
from crossgeo.models.attengeo import PRESETS, AttenGeo, AttenGeoConfig
from crossgeo.training.datasets.cvogl import read_cvogl
from crossgeo.training.evaluation.objects import ObjectModel, by_kind, find_objects, iou_of, judged, object_figures, other_rows
from crossgeo.training.evaluation.objects_report import CHANCE, SWAPPED, UNTRAINED, evaluate_objects
from crossgeo.training.pairs import ObjectSet

Quiet = Callable[[str, int, int], None]
TINY = replace(
    PRESETS["attengeo-s"],
    window_px=128,
    window_gsd_m=300 / 128,
    photo_px=64,
    channels=16,
    heads=2,
    hidden=16,
    iterations=1,
    spatial_hidden=8,
)


@pytest.fixture
def objects(cvogl: Path) -> ObjectSet:
    return read_cvogl(cvogl, "drone")


def network(config: AttenGeoConfig = TINY) -> ObjectModel:
    torch.manual_seed(0)
    return ObjectModel("tiny", "0" * 64, AttenGeo(config).eval())


def test_iou_is_that_of_pixels_wherever_the_box_lies() -> None:
    assert iou_of((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    # The same place within another cell of the grid is another place.
    assert iou_of((0, 0, 10, 10), (32, 0, 42, 10)) == 0.0
    assert iou_of((3, 3, 3, 9), (3, 3, 3, 9)) == 0.0


def test_weights_whose_photos_turn_towards_the_click_are_not_asked_about_whole_photos(objects: ObjectSet) -> None:
    unplaced = replace(objects, pairs=tuple(replace(pair, aerial_gsd_m=None) for pair in objects))
    network().check_fits(unplaced)
    with pytest.raises(MismatchError, match="turned towards the click"):
        network(replace(TINY, look_deg=64.0, ahead_m=30.0)).check_fits(unplaced)


def test_the_error_of_the_middle_is_in_metres_on_the_ground(objects: ObjectSet) -> None:
    pair = objects.pairs[3]
    x0, y0, x1, y1 = pair.box_px
    found = judged(pair, (x0 + 10.0, y0, x1 + 10.0, y1))
    gsd_m = 300.0 / 256.0
    assert found.metres == pytest.approx(10.0 * gsd_m, rel=2e-3)  # the scale of UTM
    assert found.iou == pytest.approx(50.0 / 70.0)
    assert found.lat_lon is not None
    assert distance_m(*found.lat_lon, *pair.lat_lon_of(((x0 + x1) / 2, (y0 + y1) / 2))) == pytest.approx(found.metres)


def test_a_right_finder_has_every_box_and_each_kind_its_figures(objects: ObjectSet, quiet: Quiet) -> None:
    found = find_objects(objects, lambda asked: [pair.box_px for pair, _, _ in asked], quiet)
    figures = object_figures(found)
    assert [figures[name].value for name in ("accu@0.25", "accu@0.5", "mean_iou", "median_m")] == [1.0, 1.0, 1.0, 0.0]
    assert {kind: own["accu@0.5"].count for kind, own in by_kind(found).items()} == {"building": 3, "pond": 3}


def test_another_photo_and_click_lose_a_finder_that_looks_at_them(objects: ObjectSet, quiet: Quiet) -> None:
    found = find_objects(objects, lambda asked: [pair.box_px for pair, _, _ in asked], quiet, other_rows(len(objects), 0))
    assert object_figures(found)["accu@0.5"].value < 1.0
    rows = other_rows(50, 1)
    assert sorted(rows) == list(range(50)) and all(row != n for n, row in enumerate(rows))


def test_a_network_answers_in_the_pictures_own_pixels(objects: ObjectSet, quiet: Quiet, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    shown: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def sure_of_one_cell(windows: torch.Tensor, photos: torch.Tensor, clicks: torch.Tensor) -> torch.Tensor:
        shown.append((tuple(windows.shape), tuple(photos.shape)))
        raw = torch.zeros(len(windows), 9, 5, 8, 8)
        raw[:, 0, 4, 2, 5] = 9.0  # the anchor of 23 px, in row 2 and column 5 of cells of 16 px
        return raw

    monkeypatch.setattr(model.module, "forward", sure_of_one_cell)
    found = find_objects(objects, model.boxes, quiet)
    assert found[0].box_px == pytest.approx((2 * (88 - 11.5), 2 * (40 - 11.5), 2 * (88 + 11.5), 2 * (40 + 11.5)))
    assert shown == [((4, 3, 128, 128), (4, 3, 64, 64)), ((2, 3, 128, 128), (2, 3, 64, 64))]
    street = replace(objects.pairs[0], task="street")
    model.boxes([(street, np.zeros((256, 512, 3), np.uint8), np.zeros((256, 256, 3), np.uint8))])
    assert shown[-1][1] == (1, 3, 64, 128)


def test_questions_of_both_tasks_are_answered_in_their_order_as_if_asked_one_by_one(objects: ObjectSet) -> None:
    rng = np.random.default_rng(3)
    asked = []
    for number, pair in enumerate(objects):
        street, side_px = number % 3 == 1, 150 + 40 * number  # aerials and photos of several sizes
        photo, aerial = (rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((80, 160 if street else 80), (side_px, side_px)))
        asked.append((replace(pair, task="street" if street else "drone", click_px=(20.0 + 5.0 * number, 40.0)), photo, aerial))
    model = network()
    together, alone = model.boxes(asked), [model.boxes([one])[0] for one in asked]
    assert len(set(alone)) == len(asked)
    np.testing.assert_allclose(together, alone, atol=1e-3)


def test_a_report_holds_figures_controls_and_answers_on_the_map(objects: ObjectSet, quiet: Quiet) -> None:
    test = objects.split("test")
    report = evaluate_objects(test, [network(), network()], quiet, sizes_from=objects.split("train"), against=network())
    plain = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert set(plain["controls"]) == {SWAPPED, UNTRAINED, CHANCE}
    assert plain["over_seeds"]["all"]["accu@0.25"]["count"] == 2
    assert plain["against"]["difference"]["accu@0.5"]["value"] == 0.0
    assert [one["id"] for one in plain["answers"]] == [pair.id for pair in test]
    assert all(-36.0 < one["lat"] < -35.0 and 148.0 < one["lon"] < 151.0 for one in plain["answers"])
    assert [line["method"] for line in plain["published"]][:1] == ["DetGeo"]


def test_weights_of_another_scale_are_refused(objects: ObjectSet, quiet: Quiet) -> None:
    near = network(replace(TINY, window_gsd_m=0.375))
    with pytest.raises(MismatchError, match="reads 48 m of ground, and the pictures of CVOGL drone show 300 m"):
        evaluate_objects(objects, [near], quiet)


def test_an_empty_set_and_a_missing_picture_are_refused(objects: ObjectSet, tmp_path: Path, quiet: Quiet) -> None:
    def nothing(asked: object) -> list[tuple[float, float, float, float]]:
        raise AssertionError("nothing may be asked")

    with pytest.raises(InputError, match="no objects to evaluate"):
        find_objects(replace(objects, pairs=()), nothing, quiet)
    lost = replace(objects.pairs[1], aerial=tmp_path / "lost.jpg")
    with pytest.raises(InputError, match=r"lost\.jpg is not there"):
        find_objects(replace(objects, pairs=(objects.pairs[0], lost)), nothing, quiet)
