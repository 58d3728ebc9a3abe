"""engine/photo_maps.py: a photo's maps are made once a pose, together, and come back in the order asked for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossgeo.engine.photo import Photo
from crossgeo.engine.photo_maps import STRIDES, Look, PhotoMaps
from crossgeo.engine.pose import DronePose

PHOTO = Photo.from_pixels(np.zeros((15, 20, 3), np.uint8))
A, B, C = (DronePose(heading, 80.0) for heading in (10.0, 20.0, 30.0))


class Counting:
    """Maps that hold the pose's heading; remembers what it was asked for."""

    def __init__(self) -> None:
        self.canvas_px, self.canvas_m = 160, 60.0
        self.asked: list[list[float]] = []
        self.centres: list[Any] = []
        self.extents: list[Any] = []

    def photo_with_features(self, photo: Photo, poses: Sequence[DronePose], centres_m: Any) -> tuple[np.ndarray, list[Tensor], np.ndarray]:
        self.centres.append(centres_m)
        return np.array([[pose.heading_deg] for pose in poses], np.float32), *self.photo_features(photo, poses)

    def photo_features(
        self, photo: Photo, poses: Sequence[DronePose], centres_m: Any = None, extent_m: Any = None
    ) -> tuple[list[Tensor], np.ndarray]:
        self.centres.append(centres_m)
        self.extents.append(extent_m)
        headings = [pose.heading_deg for pose in poses]
        self.asked.append(headings)
        levels = [torch.tensor(headings).view(-1, 1, 1, 1).expand(-1, 2, 160 // stride, 160 // stride) for stride in STRIDES]
        return levels, np.ones((len(poses), 160, 160), np.bool_)

    def scene_features(self, windows: np.ndarray) -> list[Tensor]:
        raise AssertionError("a photo has no scenes")


def test_a_pose_is_made_once_and_all_that_miss_are_made_together() -> None:
    describer = Counting()
    maps = PhotoMaps(describer, PHOTO)
    maps.at([A])
    maps.at([C, A, B, C])
    assert describer.asked == [[10.0], [30.0, 20.0]]


def test_what_was_described_is_not_made_again() -> None:
    describer = Counting()
    maps = PhotoMaps(describer, PHOTO)
    assert maps.describe([A, B]).tolist() == [[10.0], [20.0]]
    maps.at([B, A])
    assert describer.asked == [[10.0, 20.0]]


def test_maps_come_in_the_order_asked_for_at_the_strides_asked_for() -> None:
    maps = PhotoMaps(Counting(), PHOTO)
    templates = maps.at([C, A, C], STRIDES[-1:])
    assert templates.poses == (C, A, C)
    assert templates.maps[0][:, 0, 0, 0].tolist() == [30.0, 10.0, 30.0]
    assert [tuple(m.shape) for m in templates.maps] == [(3, 2, 10, 10)]
    assert [tuple(c.shape) for c in templates.cells] == [(3, 10, 10)]
    assert [m.shape[-1] for m in maps.at([B]).maps] == [20, 10]


def test_many_poses_are_made_in_bounded_batches() -> None:
    describer = Counting()
    assert len(PhotoMaps(describer, PHOTO).at([DronePose(float(k), 80.0) for k in range(150)]).poses) == 150
    assert max(len(asked) for asked in describer.asked) <= 64


def test_a_part_is_looked_at_where_it_lies_on_the_ground() -> None:
    describer = Counting()
    maps = PhotoMaps(describer, PHOTO, Look((0.3, -0.2), 30.0))
    maps.at([DronePose(0.0, 80.0), DronePose(90.0, 40.0)])
    np.testing.assert_allclose(describer.centres[0], [(24.0, 12.0), (6.0, -12.0)], atol=1e-6)  # 15 px of 80 m / 20 px to a height
    assert (describer.extents, maps.extent_m) == ([30.0], 30.0)
    assert PhotoMaps(describer, PHOTO).extent_m == 60.0
