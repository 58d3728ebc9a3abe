"""Descriptors against a gallery: hits, metres, headings, and what must be refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crossgeo.errors import InputError, MismatchError, WeightsError
from crossgeo.models.checkpoint import save_weights
from crossgeo.models.egotr import EgoTR, EgoTRBranch, EgoTRConfig
from crossgeo.models.panorama import PanoramaView
from crossgeo.models.street_view import StreetView
from crossgeo.models.views import DroneView
from crossgeo.training.datasets.cvact import read_cvact
from crossgeo.training.evaluation.describing import PairModel, middle_of
from crossgeo.training.evaluation.judging import DescriptorAnswers, HistogramJudge, ModelJudge
from crossgeo.training.evaluation.places import cells
from crossgeo.training.evaluation.questions import Questions
from crossgeo.training.pairs import PairSet

Quiet = Callable[[str, int, int], None]


@pytest.fixture
def test_pairs(cvact: Path) -> PairSet:
    return read_cvact(cvact).split("test")


@pytest.fixture
def answers(test_pairs: PairSet, colours: PairModel, quiet: Quiet) -> DescriptorAnswers:
    questions = Questions.of(test_pairs, ("5m", "id"), headings=12)
    return DescriptorAnswers(questions, ModelJudge.of(questions, colours, quiet))


def test_a_right_model_finds_every_place_to_the_metre(answers: DescriptorAnswers, test_pairs: PairSet) -> None:
    found = answers(test_pairs.pairs, 360.0, True)
    assert [one.id for one in found] == [pair.id for pair in test_pairs]
    assert all(one.ranks == {"5m": 1, "id": 1} and one.metres == 0.0 for one in found)
    assert all(one.heading_error_deg is None for one in found)  # it was given


def test_an_unknown_heading_is_found_too(answers: DescriptorAnswers, test_pairs: PairSet) -> None:
    found = answers(test_pairs.pairs, 360.0, False)
    assert all(one.metres == 0.0 and one.heading_error_deg == 0.0 for one in found)


def test_a_cut_photo_has_the_heading_of_its_own_middle(answers: DescriptorAnswers, test_pairs: PairSet) -> None:
    found = answers(test_pairs.pairs, 180.0, False)
    errors = [one.heading_error_deg for one in found if one.metres is not None and one.metres <= 5.0]
    assert len(errors) >= 6
    assert max(error for error in errors if error is not None) <= 15.0  # half the step of 12 headings


def test_a_cell_of_some_of_the_pairs_answers_those(answers: DescriptorAnswers, test_pairs: PairSet) -> None:
    some = (test_pairs.pairs[5], test_pairs.pairs[2])
    (cell,) = cells(some, answers, (360.0,), (True,))
    assert [one.id for one in cell.answered] == [pair.id for pair in some]
    assert all(one.ranks["id"] == 1 for one in cell.answered)


def test_a_shifted_heading_is_lost(answers: DescriptorAnswers, test_pairs: PairSet, colours: PairModel, quiet: Quiet) -> None:
    judge = ModelJudge.of(answers.questions, colours, quiet).with_shifted_headings()
    found = DescriptorAnswers(answers.questions, judge)(test_pairs.pairs, 360.0, True)
    assert sum(one.ranks["id"] == 1 for one in found) <= 6  # of eight; colours alone, without where they lie, tell some places apart


def test_a_constant_model_finds_nothing_and_has_no_place(test_pairs: PairSet, colours: PairModel, quiet: Quiet) -> None:
    class Constant(type(colours.ground)):  # type: ignore[misc]
        def forward(self, images):  # type: ignore[no-untyped-def]
            return super().forward(images * 0.0 + images.new_tensor(range(images.shape[-1])))

    same = PairModel(**{**vars(colours), "ground": Constant(), "aerial": Constant()})
    questions = Questions.of(test_pairs, ("id",))
    found = DescriptorAnswers(questions, ModelJudge.of(questions, same, quiet))(test_pairs.pairs, 360.0, True)
    assert all(one.ranks["id"] == len(questions.gallery) and one.metres is None for one in found)


def test_histograms_are_a_baseline_that_knows_no_headings(test_pairs: PairSet, quiet: Quiet) -> None:
    questions = Questions.of(test_pairs, ("id",))
    judge = HistogramJudge.of(questions, None, quiet)
    assert "plain correlation" in judge.says
    answers = DescriptorAnswers(questions, judge)
    found = answers(test_pairs.pairs, 360.0, True)
    assert found == answers(test_pairs.pairs, 360.0, False)
    assert np.mean([one.ranks["id"] for one in found]) < 4.5  # better than chance where colours tell places apart


def test_the_untrained_network_is_the_same_for_a_seed_and_another_for_another(
    test_pairs: PairSet, save_tiny: Callable[..., Path], quiet: Quiet
) -> None:
    model = PairModel.load(str(save_tiny("tiny", PanoramaView((32, 128), (32, 128), True).to_dict())))
    tile = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    first, again, other = (model.untrained(seed).tiles([tile], [None]) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()
    assert (model.tiles([tile], [None]) != first).any()


def test_a_missing_picture_is_named(test_pairs: PairSet, tmp_path: Path) -> None:
    gone = test_pairs.pairs[3]
    moved = PairSet("made", "cvact", tmp_path, (type(gone)(**{**vars(gone), "photo": tmp_path / "gone.jpg"}),))
    with pytest.raises(InputError, match=r"gone\.jpg is not there; get the set again"):
        Questions.of(moved, ("id",))


def test_weights_whose_view_does_not_fit_the_set_are_refused(test_pairs: PairSet, save_tiny: Callable[..., Path], quiet: Quiet) -> None:
    drone = PairModel.load(str(save_tiny("drone", DroneView(32).to_dict())))
    with pytest.raises(MismatchError, match="drone view, and CVACT holds photos from the street"):
        ModelJudge.of(Questions.of(test_pairs, ("id",)), drone, quiet)
    with pytest.raises(MismatchError, match="'sonar'"):
        PairModel.load(str(save_tiny("odd", {"kind": "sonar"})))


def test_street_weights_are_read_with_the_aerial_branch_they_were_trained_with(test_pairs: PairSet, tmp_path: Path, quiet: Quiet) -> None:
    config = EgoTRConfig("tiny", "efficientnet-lite0", (32, 32), (32, 32), 16, 1, 2, 32, dropout=0.0)
    paths, digests = [tmp_path / "above.safetensors", tmp_path / "other.safetensors"], []
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        card = {"name": path.stem, "kind": "egotr", "config": config.to_dict(), "view": DroneView(32).to_dict()}
        digests.append(save_weights(path, EgoTR(config).state_dict(), card))
    own = {"name": "street", "kind": "egotr-street", "config": config.to_dict(), "view": StreetView(32, 40.0).to_dict()}
    street = tmp_path / "street.safetensors"
    save_weights(street, EgoTRBranch(config, (32, 32)).state_dict(), {**own, "aerial": {"name": "above", "sha256": digests[0]}})
    model = PairModel.load(str(street), aerial_weights=str(paths[0]))
    questions = Questions.of(test_pairs, ("id",), headings=2)
    found = DescriptorAnswers(questions, ModelJudge.of(questions, model, quiet))(test_pairs.pairs, 90.0, False)
    assert model.kind == "street" and len(found) == len(test_pairs)
    with pytest.raises(WeightsError, match="goes with other weights than the other"):
        PairModel.load(str(street), aerial_weights=str(paths[1]))
    without = PairSet("made", "cvact", test_pairs.root, tuple(replace(p, aerial_gsd_m=None) for p in test_pairs))
    with pytest.raises(MismatchError, match="how many metres a pixel covers"):
        model.check_fits(without)


def test_the_middle_of_a_picture_is_cut_to_what_the_model_reads() -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[30:70, 30:70] = 255
    assert (middle_of(picture, 0.5, 20.0, 16) == 255).all()
    with pytest.raises(MismatchError, match="show 50 m, and the weights read 60 m"):
        middle_of(picture, 0.5, 60.0, 16)


def test_a_set_without_headings_cannot_be_asked_with_them(test_pairs: PairSet, colours: PairModel, quiet: Quiet) -> None:
    bare = PairSet("made", "cvact", test_pairs.root, tuple(type(p)(**{**vars(p), "heading_deg": None}) for p in test_pairs))
    questions = Questions.of(bare, ("id",), headings=4)
    answers = DescriptorAnswers(questions, ModelJudge.of(questions, colours, quiet))
    with pytest.raises(MismatchError, match="has no heading"):
        answers(bare.pairs, 360.0, True)
    assert all(one.heading_error_deg is None and one.ranks["id"] == 1 for one in answers(bare.pairs, 360.0, False))


def test_tiles_unrolled_on_the_models_device_are_described_as_those_unrolled_before() -> None:
    config = EgoTRConfig("tiny", "efficientnet-lite0", (32, 64), (32, 64), 16, 1, 2, 32, polar=True, dropout=0.0)
    view = PanoramaView.of(config)
    tiny = EgoTR(config)
    card = {"name": "polar", "digest": "0" * 64, "view": view.to_dict()}
    before = PairModel.of(card, config, tiny.ground, tiny.aerial)
    assert before.unrolled is None  # only a GPU is quicker at it
    pictures = [np.random.default_rng(n).integers(0, 256, (40 + n % 2, 40 + n % 2, 3), dtype=np.uint8) for n in range(19)]
    there = replace(before, unrolled=view.polar_inputs).tiles(pictures, [None] * 19)
    np.testing.assert_allclose(there, before.tiles(pictures, [None] * 19), atol=2e-6)
