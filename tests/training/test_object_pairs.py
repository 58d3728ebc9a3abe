"""training/object_pairs.py: clicks and boxes follow their pictures to the preset's sizes."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from crossgeo.errors import InputError
from crossgeo.models.attengeo import PRESETS
from crossgeo.training.object_pairs import ObjectPairSource
from crossgeo.training.pairs import ObjectPair

CONFIG = replace(PRESETS["attengeo"], window_px=256, photo_px=64)


def make(folder: Path, count: int) -> list[ObjectPair]:
    """A red object of 40 x 24 px in a grey aerial of 512 px, a red click in a grey photo of 128 x 256."""
    pairs = []
    for n in range(count):
        photo, aerial = np.full((128, 256, 3), 90, np.uint8), np.full((512, 512, 3), 90, np.uint8)
        x, y = 40 + 16 * n, 60
        aerial[y : y + 24, x : x + 40] = photo[28:36, 96:104] = (0, 0, 255)
        cv2.imwrite(str(folder / f"q{n}.png"), photo)
        cv2.imwrite(str(folder / f"s{n}.png"), aerial)
        pairs.append(
            ObjectPair(
                str(n),
                folder / f"q{n}.png",
                folder / f"s{n}.png",
                "train",
                "street",
                (100.0, 32.0),
                (x, y, x + 40.0, y + 24.0),
                None,
                "car",
            )
        )
    return pairs


def test_boxes_and_clicks_lie_on_their_objects(tmp_path: Path) -> None:
    batch = ObjectPairSource(make(tmp_path, 3), CONFIG, 3, seed=0).batch_of(0)
    assert (batch.photos.shape, batch.windows.shape) == ((3, 3, 64, 128), (3, 3, 256, 256))
    for photo, click, window, box in zip(batch.photos, batch.clicks, batch.windows, batch.boxes, strict=True):
        red = (window[0] > 200).nonzero()
        assert [red[:, 1].min(), red[:, 0].min(), red[:, 1].max() + 1, red[:, 0].max() + 1] == box.tolist()
        x, y = click.int().tolist()
        assert photo[0, y, x] > 200


def test_other_clicks_and_another_batch_are_another_run(tmp_path: Path) -> None:
    pairs = make(tmp_path, 3)
    one = ObjectPairSource(pairs, CONFIG, 2, seed=1).identity()
    assert ObjectPairSource(pairs, CONFIG, 2, seed=5).identity() == one
    assert ObjectPairSource(pairs, CONFIG, 3, seed=1).identity() == {**one, "batch": 3}
    assert ObjectPairSource([replace(pairs[0], click_px=(9.0, 9.0)), *pairs[1:]], CONFIG, 2, seed=1).identity()["data"] != one["data"]


def test_an_epoch_shows_each_click_once_and_a_damaged_picture_is_named(tmp_path: Path) -> None:
    pairs = make(tmp_path, 6)
    source = ObjectPairSource(pairs, CONFIG, 2, seed=1)
    boxes = np.concatenate([source.batch_of(k).boxes[:, 0].numpy() for k in range(source.epoch_steps)])
    assert sorted(boxes) == [20.0 + 8.0 * n for n in range(6)]
    pairs[4].aerial.write_bytes(b"no picture")
    read = [source.batch_of(k) for k in range(source.epoch_steps)]
    assert [len(batch.boxes) for batch in read] == [2, 2, 2]
    (said,) = [name for batch in read for name in batch.skipped]
    assert said.startswith("4: ") and "s4.png" in said


def test_a_damaged_picture_of_the_last_click_does_not_end_an_evaluation(tmp_path: Path) -> None:
    pairs = make(tmp_path, 5)
    pairs[4].photo.write_bytes(b"no picture")
    read = list(ObjectPairSource(pairs, CONFIG, 4, seed=1).in_order())
    assert [len(batch.boxes) for batch in read] == [3, 1] and read[1].skipped[0].startswith("4: ")
    with pytest.raises(InputError, match="no picture can be read, 4: "):
        list(ObjectPairSource(pairs[4:], CONFIG, 4, seed=1).in_order())


def test_a_set_without_pairs_or_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pairs"):
        ObjectPairSource([], CONFIG, 2, seed=1)
    pairs = make(tmp_path, 2)
    pairs[0].photo.unlink()
    with pytest.raises(InputError, match=r"q0\.png of pair 0 is not there"):
        ObjectPairSource(pairs, CONFIG, 2, seed=1)
