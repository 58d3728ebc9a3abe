"""training/pair_sampling.py: epochs, hard neighbours, mining, and pictures that cannot be read."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from crossgeo.errors import InputError, MismatchError
from crossgeo.models.egotr import PRESETS, EgoTR
from crossgeo.models.panorama import PanoramaView
from crossgeo.models.street_view import StreetView
from crossgeo.training.egotr import EgoTRTask, EgoTRTraining
from crossgeo.training.journal import read_rows
from crossgeo.training.loop import train
from crossgeo.training.pair_batch import PairBatch
from crossgeo.training.pair_input import PairInput
from crossgeo.training.pair_sampling import PairSampling, PairSource
from crossgeo.training.pairs import Pair
from crossgeo.training.sampling import Batch

PANORAMA = PairInput(PanoramaView(ground_hw=(16, 64), aerial_hw=(32, 32)))
MakePairs = Callable[..., list[Pair]]


@pytest.fixture
def make_pairs(tmp_path: Path) -> MakePairs:
    """Return a maker of pairs 30 m apart on a line, each with pictures of one colour of its own."""

    def make(count: int, step_m: float = 30.0) -> list[Pair]:
        pairs = []
        for n in range(count):
            photo, aerial = tmp_path / f"photo{n}.png", tmp_path / f"aerial{n}.png"
            cv2.imwrite(str(photo), np.full((32, 128, 3), 10 + n, np.uint8))
            cv2.imwrite(str(aerial), np.full((64, 64, 3), 110 + n, np.uint8))
            pairs.append(Pair(f"p{n}", photo, aerial, "train", 0.0, 360.0, (500_000.0 + step_m * n, 4e6), "EPSG:32633", 0.25))
        return pairs

    return make


def test_an_epoch_shows_each_pair_once_in_an_order_of_its_own(make_pairs: MakePairs) -> None:
    source = PairSource(make_pairs(12), PANORAMA, PairSampling(batch=4), seed=3)
    assert source.epoch_steps == 3
    epochs = [np.concatenate([source.batch_of(3 * epoch + k).rows for k in range(3)]).tolist() for epoch in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]


def test_a_batch_is_the_same_whenever_it_is_drawn_and_its_pictures_are_its_pairs(make_pairs: MakePairs) -> None:
    how = PairSampling(batch=4, near_share=0.25, limited_share=0.5, turned=True)
    one, other = (PairSource(make_pairs(12), PANORAMA, how, seed=3).batch_of(7) for _ in range(2))
    np.testing.assert_array_equal(one.views, other.views)
    for row, view, mask, tile in zip(one.rows, one.views, one.masks, one.tiles, strict=True):
        assert (view[mask] == 10 + row).all() and not view[~mask].any()
        assert (tile == 110 + row).all()


def test_all_of_a_batch_is_turned_alike_as_neighbours_are_right_answers_in_part(make_pairs: MakePairs) -> None:
    pairs = make_pairs(12)
    corner = np.full((64, 64, 3), 90, np.uint8)
    corner[:20, 44:] = 250
    for pair in pairs:
        cv2.imwrite(str(pair.aerial), corner)
    source = PairSource(pairs, PANORAMA, PairSampling(batch=4, turned=True), seed=3)
    tiles = [source.batch_of(number).tiles for number in range(12)]
    assert all((own == own[0]).all() for own in tiles)
    assert len({own[0].tobytes() for own in tiles}) == 4  # the corner lies in each of them


def test_photos_are_shown_in_another_light_each_time_and_tiles_as_they_are(make_pairs: MakePairs) -> None:
    source = PairSource(make_pairs(4), PANORAMA, PairSampling(batch=4, limited_share=1.0, photo_change=1.0), seed=3)
    one, again, other = source.batch_of(0), source.batch_of(0), source.batch_of(1)
    np.testing.assert_array_equal(one.views, again.views)
    for batch in (one, other):
        assert (batch.tiles == (110 + batch.rows)[:, None, None, None]).all()
        assert not batch.views[~batch.masks].any()
    of = {int(row): view[mask].mean() for row, view, mask in zip(one.rows, one.views, one.masks, strict=True)}
    assert all(abs(of[int(row)] - view[mask].mean()) > 0.5 for row, view, mask in zip(other.rows, other.views, other.masks, strict=True))
    as_it_is = source.read(np.arange(4), None)  # evaluation draws nothing
    assert (as_it_is.views[as_it_is.masks] == np.repeat(10 + np.arange(4), as_it_is.masks[0].sum())[:, None]).all()


def test_a_batch_knows_its_metres(make_pairs: MakePairs) -> None:
    batch = PairSource(make_pairs(5), PANORAMA, PairSampling(batch=5), seed=1).batch_of(0)
    np.testing.assert_allclose(batch.distance_m, 30.0 * np.abs(batch.rows[:, None] - batch.rows[None]))
    assert not batch.ignore.any()


def test_what_the_data_set_calls_one_place_is_ignored(make_pairs: MakePairs) -> None:
    pairs = make_pairs(4)
    pairs = [
        replace(pairs[0], also=("aerial1",), xy=None),
        pairs[1],
        replace(pairs[2], place="tower"),
        replace(pairs[3], place="tower", crs="EPSG:32634"),
    ]
    source = PairSource(pairs, PANORAMA, PairSampling(batch=4), seed=0)
    batch = source.read(np.arange(4), None)
    assert np.argwhere(batch.ignore).tolist() == [[0, 1], [2, 3], [3, 2]]
    assert batch.distance_m[0].tolist() == [0.0, np.inf, np.inf, np.inf]
    assert np.isinf(batch.distance_m[3, :3]).all()


def test_near_places_are_drawn_together_but_never_one_place_twice(make_pairs: MakePairs) -> None:
    pairs = [*make_pairs(40, step_m=1.0)[::20], *make_pairs(40, step_m=40.0)]
    pairs = [replace(pair, id=f"{pair.id}-{n}", aerial=pair.aerial) for n, pair in enumerate(pairs)]
    how = PairSampling(batch=8, near_share=0.5, neighbours=2, apart_m=25.0)
    source = PairSource(pairs, PANORAMA, how, seed=2)
    assert source.starts == 4
    for number in range(5):
        rows = source.batch_of(number).rows
        assert len(set(rows.tolist())) == 8
        x = source.places.xy[rows, 0]
        beside = np.abs(x[4:, None] - x[None, :4])
        assert ((beside > 25.0) & (beside <= 80.0)).any(axis=1).all()


def test_mined_pairs_are_those_that_the_model_takes_for_each_other(make_pairs: MakePairs) -> None:
    how = PairSampling(batch=4, mined_share=0.5, mine_steps=10, neighbours=1, apart_m=5.0)
    source = PairSource(make_pairs(8), PANORAMA, how, seed=0)
    assert [step for step in range(30) if source.due(step)] == [0, 10, 20]

    def describe(batch: PairBatch) -> tuple[Tensor, Tensor]:  # a photo looks most like its own aerial, then like that four further on
        eye = torch.eye(8)
        rows = torch.from_numpy(batch.rows)
        return 0.8 * eye[rows] + 0.6 * eye[(rows + 4) % 8], eye[rows]

    source.mine(describe, 0, 0)
    assert source.mined[:, 0].tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    again = PairSource(make_pairs(8), PANORAMA, how, seed=0)
    again.load_state(source.state())
    rows = again.batch_of(1).rows
    assert sorted(rows[2:] % 4) == sorted(rows[:2] % 4)


def test_a_mining_pass_keeps_to_its_budget(make_pairs: MakePairs) -> None:
    source = PairSource(make_pairs(10), PANORAMA, PairSampling(batch=4, mined_share=0.5, mine_pairs=6, neighbours=3), seed=0)
    asked: list[int] = []

    def describe(batch: PairBatch) -> tuple[Tensor, Tensor]:
        asked.extend(batch.rows.tolist())
        return torch.eye(10)[batch.rows], torch.eye(10)[batch.rows]

    source.mine(describe, 0, 0)
    assert len(asked) == len(set(asked)) == 6
    assert (source.mined >= 0).any(axis=1).sum() == 6


def test_a_corrupt_photo_is_skipped_and_named_and_another_takes_its_place(make_pairs: MakePairs) -> None:
    pairs = make_pairs(8)
    pairs[3].photo.write_bytes(b"no picture")
    source = PairSource(pairs, PANORAMA, PairSampling(batch=4), seed=1)
    batches = [source.batch_of(number) for number in range(2)]
    assert [len(batch.rows) for batch in batches] == [4, 4]
    assert all(3 not in batch.rows for batch in batches)
    (said,) = [name for batch in batches for name in batch.skipped]
    assert said.startswith("p3: ") and "photo3.png" in said


def test_a_corrupt_photo_that_would_be_alone_in_the_last_part_of_a_pass_is_only_skipped(make_pairs: MakePairs) -> None:
    pairs = make_pairs(65)  # a pass describes 64 at a time
    pairs[64].photo.write_bytes(b"no picture")
    source = PairSource(pairs, PANORAMA, PairSampling(batch=4, mined_share=0.5, neighbours=1), seed=0)
    source.mine(lambda batch: (torch.eye(65)[batch.rows], torch.eye(65)[batch.rows]), 0, 0)
    assert (source.mined[:64] >= 0).all() and (source.mined[64] == -1).all() and not (source.mined == 64).any()
    with pytest.raises(InputError, match="no picture can be read, p64: "):
        source.read(np.array([64]), None)


def test_pictures_most_of_which_cannot_be_read_stop_training(make_pairs: MakePairs) -> None:
    pairs = make_pairs(8)
    for pair in pairs[1:]:
        pair.aerial.write_bytes(b"no picture")
    with pytest.raises(InputError, match="most pictures cannot be read"):
        PairSource(pairs, PANORAMA, PairSampling(batch=4), seed=1).batch_of(0)


def test_an_empty_set_and_a_pair_without_its_image_are_refused_before_training(make_pairs: MakePairs) -> None:
    with pytest.raises(InputError, match="no pairs to train on"):
        PairSource([], PANORAMA, PairSampling(), seed=1)
    pairs = make_pairs(4)
    pairs[2].aerial.unlink()
    pairs[3].photo.unlink()
    with pytest.raises(InputError, match=r"aerial2\.png of pair p2 is not there, nor are 1 other pictures"):
        PairSource(pairs, PANORAMA, PairSampling(), seed=1)


def test_photos_that_do_not_say_where_they_looked_are_left_out(make_pairs: MakePairs) -> None:
    pairs = make_pairs(4)
    source = PairSource([replace(pairs[0], heading_deg=None), *pairs[1:]], PANORAMA, PairSampling(batch=2), seed=1)
    assert (len(source.pairs), source.unplaced) == (3, 1)
    with pytest.raises(InputError, match="1 of 4 photos say where they looked"):
        PairSource([*(replace(pair, heading_deg=None) for pair in pairs[1:]), pairs[0]], PANORAMA, PairSampling(batch=2), seed=1)


def test_the_street_view_wants_a_scale(make_pairs: MakePairs) -> None:
    pairs = [replace(pair, aerial_gsd_m=None) for pair in make_pairs(2)]
    with pytest.raises(MismatchError, match="metres a pixel"):
        PairSource(pairs, PairInput(StreetView()), PairSampling(batch=2), seed=1)


class _Cut(EgoTRTask):
    """Stops as if interrupted before its `after`-th batch."""

    after = 10**9

    def learn(self, batch: Batch) -> dict[str, Tensor]:
        self.after -= 1
        if self.after < 0:
            raise KeyboardInterrupt
        return super().learn(batch)


def test_a_run_cut_between_mining_passes_goes_on_with_what_was_mined(make_pairs: MakePairs, tmp_path: Path) -> None:
    how = PairSampling(batch=4, mined_share=0.5, mine_steps=3, neighbours=2)
    training = EgoTRTraining(
        steps=6, loss="infonce", apart_m=5.0, dense=False, tied_share=0.0, bf16=False, chunk=3, average=0.9, log_steps=1, checkpoint_s=0.0,
        workers=0,
    )  # fmt: skip
    config = replace(
        PRESETS["egotr-s"], ground_hw=(16, 64), aerial_hw=(32, 32), width=32, layers=1, heads=2, hidden=32, descriptor=16, dropout=0.2
    )
    pairs = make_pairs(8)
    losses: dict[str, list[float]] = {}
    for name, cuts in (("unbroken", [10**9]), ("cut", [4, 1, 10**9])):
        for after in cuts:
            torch.manual_seed(1)
            task = _Cut(training, EgoTR(config), PANORAMA, PANORAMA.normalise_tiles)
            task.after = after
            with suppress(KeyboardInterrupt):
                train(task, PairSource(pairs, PANORAMA, how, seed=0), training, tmp_path / name)
        losses[name] = [row["loss"] for row in read_rows(tmp_path / name / "log.jsonl")]
    assert len(losses["unbroken"]) == 6
    assert losses["cut"] == pytest.approx(losses["unbroken"], abs=1e-6)
