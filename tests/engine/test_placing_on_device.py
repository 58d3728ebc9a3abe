"""engine/placing_on_device.py: canvases made where the network reads them are those that OpenCV places, but for whole grey levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from crossgeo.engine import describe
from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.photo import Photo
from crossgeo.engine.placing import DronePlacer
from crossgeo.engine.placing_on_device import drone_inputs
from crossgeo.engine.pose import DronePose
from crossgeo.models.views import DroneView

VIEW = DroneView()
POSES = [DronePose(0.0, 80.0), DronePose(37.0, 45.0), DronePose(200.0, 80.0, tilt_deg=35.0), DronePose(91.0, 400.0)]
OFFSETS = [(0.0, 0.0), (12.0, -7.0), (-5.0, 9.0), (30.0, 30.0)]


@pytest.fixture(scope="module")
def photo() -> Photo:
    noise = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return Photo.from_pixels(np.asarray(cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC), np.uint8))


def test_canvases_are_those_that_opencv_places(photo: Photo) -> None:
    placer = DronePlacer()
    canvases, masks = placer.place(photo, POSES, OFFSETS, VIEW.size_px, VIEW.extent_m)
    expected = VIEW.normalise(canvases, masks)
    given = drone_inputs(placer, photo, POSES, OFFSETS, VIEW, torch.device("cpu"))
    assert given.dtype == torch.float32 and given.is_contiguous(memory_format=torch.channels_last)
    seen = torch.from_numpy(masks)[:, None].expand_as(given)
    assert (given[~seen] == 0).all() and 0.1 < seen.float().mean() < 0.95
    levels = (given - expected)[seen].abs() * 255 * VIEW.std[0]
    assert levels.mean() < 0.5 and levels.quantile(0.999) < 4.0  # OpenCV rounds positions to 1/32 px, too
    alone = [drone_inputs(placer, photo, [pose], [at], VIEW, torch.device("cpu")) for pose, at in zip(POSES, OFFSETS, strict=True)]
    assert torch.equal(torch.cat(alone), given)  # in their order, whatever is brought down together


def test_a_gpu_describes_what_it_placed_itself_as_a_processor_does(photo: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    describer = EgoTRDescriber.load()
    expected = describer.photo(photo, POSES)
    placed: list[int] = []

    class OnGpu:
        device = torch.device("cuda")

        def run_tensors(self, inputs: Tensor) -> tuple[Tensor, ...]:
            return describer.ground.branch.run_tensors(inputs)

    def here(*given: Any) -> Tensor:
        placed.append(len(given[2]))
        return drone_inputs(*given[:-1], torch.device("cpu"))

    monkeypatch.setattr(describe, "drone_inputs", here)
    on_gpu = EgoTRDescriber(replace(describer.ground, branch=OnGpu()), describer.aerial, describer.card)
    given = on_gpu.photo(photo, POSES)
    assert placed == [len(POSES)]
    assert (given * expected).sum(axis=1).min() > 0.999
