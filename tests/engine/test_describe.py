"""Describing: what the model sees is what the view defines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossgeo.engine import placing
from crossgeo.engine.describe import AerialSide, EgoTRDescriber, GroundSide, TileDescriber, TileStream
from crossgeo.engine.photo import Photo
from crossgeo.engine.placing import DronePlacer
from crossgeo.engine.pose import DronePose, StreetPose
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.engine.runtime.merged import Merging
from crossgeo.errors import MismatchError
from crossgeo.indexer.described import InStream
from crossgeo.indexer.manifest import ModelIdentity
from crossgeo.models.checkpoint import save_weights
from crossgeo.models.egotr import PRESETS, EgoTR
from crossgeo.models.panorama import PanoramaView
from crossgeo.models.street_view import StreetView
from crossgeo.models.views import DroneView

VIEW = DroneView(size_px=96)
PRECISE = RuntimeOptions(runtime="torch", precision="fp32")


class Recorder:
    """A runtime that keeps what it was given."""

    label = "recorder"

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.batches: list[NDArray[np.float32]] = []

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(batch)
        return np.ones((len(batch), 4), np.float32)

    def run_all(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        return (self.run(inputs[0]),)


def describer() -> tuple[EgoTRDescriber, Recorder, Recorder]:
    ground, aerial, stem = Recorder(), Recorder(), Recorder()
    tiles = TileDescriber(VIEW, aerial, ModelIdentity("m", "0" * 64, VIEW.digest))
    return EgoTRDescriber(GroundSide(VIEW, DronePlacer(), ground, stem), AerialSide(tiles, stem), {}), ground, aerial


@pytest.mark.parametrize("size", [(200, 150), (1600, 1200), (1201, 1603)])
def test_a_photo_shrunk_once_a_width_is_placed_as_the_view_places_it(ground: Any, size: tuple[int, int]) -> None:
    pixels = cv2.resize(ground.rgb[:400, :400], size, interpolation=cv2.INTER_CUBIC)
    photo = Photo.from_pixels(np.asarray(pixels, np.uint8))
    poses = [DronePose(heading, width, tilt) for heading in (0.0, 37.0) for width in (45.0, 95.0) for tilt in (0.0, 25.0)]
    canvases, masks = DronePlacer().place(photo, poses, [(0.0, 0.0)] * len(poses), VIEW.size_px, VIEW.extent_m)
    for pose, canvas, mask in zip(poses, canvases, masks, strict=True):
        wanted, wanted_mask = VIEW.canvas(photo.pixels, pose.geometry(photo))
        assert (mask != wanted_mask).mean() < 0.005
        both = mask & wanted_mask
        assert np.abs(canvas.astype(int) - wanted)[both].mean() < 1.0


def test_photos_of_several_threads_share_a_pass_where_told_and_are_described_as_each_alone(ground: Any) -> None:
    photos = [ground.photo(363_120.0 + 10.0 * k, 3_057_452.0, 0.0, 65.0) for k in range(3)]
    poses = [[DronePose(30.0 * k, 65.0) for k in range(1 + number)] for number in range(3)]
    alone = EgoTRDescriber.load(options=PRECISE)
    with Merging(max_batch=6, max_delay_ms=600_000.0) as merging, ThreadPoolExecutor(3) as threads:
        merged = EgoTRDescriber.load(options=replace(PRECISE, merging=merging))
        found = list(threads.map(lambda number: merged.photo_with_features(photos[number], poses[number]), range(3)))
        assert (merging.stats().passes, merging.stats().batches, merging.stats().rows) == (3, 1, 6)
    assert merged.tiles_run_on == alone.tiles_run_on
    for photo, own, (rows, levels, _) in zip(photos, poses, found, strict=True):
        wanted, wanted_levels, _ = alone.photo_with_features(photo, own)
        np.testing.assert_allclose(rows, wanted, atol=1e-5)
        for level, wanted_level in zip(levels, wanted_levels, strict=True):
            torch.testing.assert_close(level, wanted_level, atol=1e-4, rtol=1e-4)


def test_many_poses_go_through_the_ground_branch_in_bounded_batches(ground: Any) -> None:
    made, on_ground, on_aerial = describer()
    rows = made.photo(ground.photo(363_147.0, 3_057_452.0, 0.0, 65.0), [DronePose(3.0 * k, 65.0) for k in range(70)])
    assert rows.shape == (70, 4)
    assert [len(batch) for batch in on_ground.batches] == [32, 32, 6]
    assert on_aerial.batches == []


def test_masked_pixels_reach_the_model_as_the_mean(ground: Any) -> None:
    made, on_ground, _ = describer()
    made.photo(ground.photo(363_147.0, 3_057_452.0, 0.0, 30.0), [DronePose(0.0, 30.0)])  # the photo fills half the canvas
    batch = on_ground.batches[0]
    assert batch.shape == (1, 3, 96, 96)
    assert (batch[0, :, 0, 0] == 0).all()
    assert np.abs(batch[0, :, 48, 48]).max() > 0


def test_tiles_of_any_size_become_the_views(ground: Any) -> None:
    made, _, on_aerial = describer()
    assert made.tiles(ground.rgb[None, :120, :120]).shape == (1, 4)
    assert on_aerial.batches[0].shape == (1, 3, 96, 96)


def test_one_pass_gives_the_descriptors_and_the_maps_of_two(ground: Any) -> None:
    torch.manual_seed(0)
    made = EgoTRDescriber.load(options=PRECISE)
    photo, poses = ground.photo(363_147.0, 3_057_452.0, 0.0, 65.0), [DronePose(0.0, 65.0), DronePose(40.0, 90.0), DronePose(75.0, 40.0)]
    rows, levels, masks = made.photo_with_features(photo, poses)
    np.testing.assert_allclose(rows, made.photo(photo, poses), atol=1e-5)
    wanted, wanted_masks = made.photo_features(photo, poses)
    assert [tuple(level.shape) for level in levels] == [(3, 40, 20, 20), (3, 112, 10, 10)]
    for level, want in zip(levels, wanted, strict=True):
        assert torch.allclose(level, want, atol=1e-4)
    assert (masks == wanted_masks).all()


def test_a_photo_is_brought_down_once_a_scale_however_often_it_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    one, other = (Photo.from_pixels(rng.integers(0, 256, (400, 600, 3), np.uint8)) for _ in range(2))
    widths: list[float] = []
    shrink = placing._shrink
    monkeypatch.setattr(placing, "_shrink", lambda photo, width_px: widths.append(width_px) or shrink(photo, width_px))
    made, on_ground, _ = describer()
    made.photo(one, [DronePose(10.0, 80.0)])
    made.photo(one, [DronePose(50.0, 80.0), DronePose(80.0, 80.0)])
    assert len(widths) == 1
    made.photo(one, [DronePose(10.0, 60.0)])  # another scale
    made.photo(other, [DronePose(10.0, 80.0)])
    assert len(widths) == 3
    made.photo(one, [DronePose(10.0, 80.0)])
    np.testing.assert_array_equal(on_ground.batches[0], on_ground.batches[-1])


@pytest.mark.parametrize("view", [PanoramaView((32, 32), (32, 32)), StreetView(size_px=32)])
def test_weights_whose_photos_are_placed_otherwise_are_refused(view: PanoramaView | StreetView, tmp_path: Path) -> None:
    tiny = replace(PRESETS["egotr-s"], ground_hw=(32, 32), aerial_hw=(32, 32), width=32, layers=1, heads=2, hidden=32, descriptor=16)
    card = {"name": "pairs", "kind": "egotr", "config": tiny.to_dict(), "view": view.to_dict()}
    save_weights(tmp_path / "pairs.safetensors", EgoTR(tiny).state_dict(), card)
    with pytest.raises(MismatchError, match=f"pairs has a {view.to_dict()['kind']} view"):
        EgoTRDescriber.load(str(tmp_path / "pairs.safetensors"))


def test_street_weights_share_the_aerial_side_and_refuse_another() -> None:
    drone = EgoTRDescriber.load(options=PRECISE)
    street = drone.for_street("egotr-s-street", PRECISE)
    assert street.identity == drone.identity and street.aerial is drone.aerial
    panorama = Photo.from_pixels(np.full((64, 128, 3), 90, np.uint8))
    assert street.photo(panorama, [StreetPose(30.0), StreetPose(200.0, 2.5)]).shape == (2, 768)
    drone.identity = ModelIdentity("another", "1" * 64, drone.identity.view)
    with pytest.raises(MismatchError, match="another"):
        drone.for_street("egotr-s-street")


def test_tiles_that_come_to_a_device_as_bytes_are_described_as_those_that_do_not() -> None:
    describer = TileDescriber.load("egotr-s-drone", PRECISE)
    rng = np.random.default_rng(0)
    tiles = np.stack([cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (128, 128)) for _ in range(7)])
    tiles[:, :30] = 0  # no imagery
    wanted = describer.tiles(tiles)
    stream = TileStream(describer)
    np.testing.assert_allclose(stream(tiles), wanted, atol=1e-4)
    found = list(stream.stream(iter([[tiles[:2], tiles[2:3]], [tiles[3:7]]])))
    assert [len(rows) for rows in found] == [3, 4]
    np.testing.assert_allclose(np.concatenate(found), wanted, atol=1e-4)
    resized = np.stack([VIEW.tile_input(tile) for tile in tiles])
    np.testing.assert_allclose(VIEW.normalise_on_device(torch.from_numpy(resized)), VIEW.normalise_tiles(resized), atol=1e-6)


def test_a_gpu_describes_a_build_in_a_stream_and_the_processor_batch_by_batch() -> None:
    _, _, aerial = describer()
    here = TileDescriber(VIEW, aerial, ModelIdentity("m", "0" * 64, VIEW.digest))
    assert not isinstance(here.describe, InStream)
    aerial.device = torch.device("cuda")
    assert isinstance(here.describe, InStream)
