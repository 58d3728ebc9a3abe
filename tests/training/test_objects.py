"""training/objects.py: clicks drawn from grounds, with boxes where the window shows the object."""

import numpy as np
import pytest
import torch

from crossgeo.errors import InputError
from crossgeo.models.views import ObjectView
from crossgeo.training.grounds import Ground, make_ground
from crossgeo.training.objects import ObjectSampler, held_out_batches, make_batch
from crossgeo.training.render import Cameras

VIEW = ObjectView(photo_px=64, window_px=96, gsd_m=0.4)
CALM = Cameras(tilt_deg=0.0)


def _ground(*, real: bool = False, usable: slice = slice(None)) -> Ground:
    """A grey field of 160 m with one red roof in its middle."""
    image = np.full((400, 400, 3), 90, np.uint8)
    image[180:220, 190:240] = (250, 10, 10)
    roof = np.array([[190, 180], [240, 180], [240, 220], [190, 220]], np.float32)
    mask = np.zeros((400, 400), np.bool_)
    mask[:, usable] = True
    return make_ground("field", [image], mask, 0.4, [roof], real=real)


def _red(image: np.ndarray) -> np.ndarray:
    x = image.astype(np.int32)
    return np.asarray((x[..., 0] > x[..., 1] + 60) & (x[..., 0] > x[..., 2] + 60))


def test_the_box_is_where_the_window_shows_the_object() -> None:
    draw, rng = ObjectSampler([_ground()], VIEW, CALM), np.random.default_rng(0)
    for _ in range(8):
        sample = draw(rng)
        rows, columns = np.nonzero(_red(sample.window))
        seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert sample.box.clip(0, 96) == pytest.approx(seen, abs=2.0)


def test_the_click_lies_on_the_object_in_the_photo() -> None:
    draw, rng = ObjectSampler([_ground()], VIEW, CALM), np.random.default_rng(1)
    hits = 0
    for _ in range(12):
        sample = draw(rng)
        column, row = (int(v) for v in sample.click_px)
        assert sample.mask[row, column]
        pixel = sample.photo[row, column].astype(int)
        hits += bool(pixel[0] > pixel[1])
    assert hits >= 10  # colour, shadow and blur may hide a roof


def test_buildings_without_room_for_a_window_are_not_drawn() -> None:
    with pytest.raises(InputError, match="19 m of usable imagery"):
        ObjectSampler([_ground(usable=slice(0, 220))], VIEW)
    assert len(ObjectSampler([_ground()], VIEW).outlines[0]) == 1


def test_unseen_pixels_hold_the_mean_colour_and_boxes_end_at_the_window() -> None:
    draw, rng = ObjectSampler([_ground()], VIEW, Cameras(height_m=(10.0, 12.0))), np.random.default_rng(2)
    samples = [draw(rng) for _ in range(3)]
    batch = make_batch(samples, VIEW)
    assert batch.photos.shape == (3, 3, 64, 64)
    assert batch.windows.shape == (3, 3, 96, 96)
    assert batch.photos.dtype == batch.windows.dtype == torch.uint8
    assert batch.windows.is_contiguous(memory_format=torch.channels_last)
    assert not samples[0].mask.all()
    unseen = batch.photos[0][:, torch.from_numpy(~samples[0].mask)]
    assert (unseen == 127).all()
    assert batch.boxes.min() >= 0
    assert batch.boxes.max() <= 96


def test_a_seed_gives_the_same_held_out_clicks_in_any_batches() -> None:
    draw = ObjectSampler([_ground()], VIEW, CALM)
    ones, twos = held_out_batches(draw, VIEW, 5, 1, seed=3), held_out_batches(draw, VIEW, 5, 2, seed=3)
    assert [len(b.boxes) for b in twos] == [2, 2, 1]
    torch.testing.assert_close(torch.cat([b.boxes for b in ones]), torch.cat([b.boxes for b in twos]))
    assert not torch.equal(held_out_batches(draw, VIEW, 1, 1, seed=4)[0].boxes, ones[0].boxes)
