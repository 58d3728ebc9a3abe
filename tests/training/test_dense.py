"""training/dense.py: the right tile and the right shift have the least loss, on maps made by hand and on rendered ground."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from crossgeo.models.views import DroneView
from crossgeo.training.dense import DenseLoss, batch_dense_loss, dense_loss
from crossgeo.training.grounds import Ground
from crossgeo.training.render import Cameras
from crossgeo.training.sampling import Batch, SiteSampler, SiteSampling

HOW = DenseLoss()
SEEN = torch.ones(3, 12, 12)


def shifted(maps: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """What photos show whose centres lie so many cells below and right of their tiles' centres."""
    return torch.roll(maps, (-rows, -columns), dims=(2, 3))


def offsets(east_m: float, north_m: float) -> torch.Tensor:
    out = torch.full((3, 3, 2), torch.inf)
    out[range(3), range(3)] = torch.tensor([east_m, north_m])
    return out


def test_the_loss_is_small_where_photos_lie_and_large_where_they_do_not() -> None:
    torch.manual_seed(0)
    tiles = torch.randn(3, 4, 12, 12)
    photos = shifted(tiles, rows=1, columns=2)  # 2 cells east and 1 south of each tile's centre
    nothing = torch.zeros(3, 3, dtype=torch.bool)

    def loss(photos: torch.Tensor, east_m: float, north_m: float) -> float:
        return dense_loss(photos, SEEN, tiles, SEEN, offsets(east_m, north_m), nothing, 3.0, 9.0, HOW).item()

    right = loss(photos, 6.0, -3.0)
    assert right < 3.0
    assert right < loss(photos, -6.0, -3.0) - 5.0  # the wrong side
    assert right < loss(photos, 6.0, 3.0) - 5.0
    assert right < loss(photos.roll(1, 0), 6.0, -3.0) - 5.0  # the wrong tile


def test_photos_that_cannot_be_placed_have_no_say() -> None:
    torch.manual_seed(1)
    tiles = torch.randn(3, 4, 12, 12)
    far, all_ = offsets(40.0, 0.0), torch.ones(3, 3, dtype=torch.bool)
    assert dense_loss(tiles, SEEN, tiles, SEEN, far, ~all_, 3.0, 9.0, HOW).item() == 0.0
    assert dense_loss(tiles, SEEN, tiles, SEEN, offsets(0.0, 0.0), all_, 3.0, 9.0, HOW).item() == 0.0
    assert dense_loss(tiles, SEEN, tiles, torch.zeros(3, 12, 12), offsets(0.0, 0.0), ~all_, 3.0, 9.0, HOW).item() == 0.0


def pooled(batch: Batch, view: DroneView) -> list[tuple[torch.Tensor, ...]]:
    images = view.normalise(batch.views, batch.masks), view.normalise_tiles(batch.tiles)
    return [tuple(F.avg_pool2d(side, stride) for stride in (8, 16)) for side in images]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_offsets_of_a_batch_point_to_where_its_photos_were_taken(ground: Ground, seed: int) -> None:
    view = DroneView(size_px=160)
    cameras = Cameras(width_px=200, height_m=(60.0, 70.0), tilt_deg=0.0, heading_error_deg=0.0, scale_error=0.0)
    sampler = SiteSampler([ground], view, cameras, SiteSampling(groups=2, sites=2, cut_share=0.0))
    batch = sampler.batch(np.random.default_rng(seed))
    metres = np.linalg.norm(batch.offset_m, axis=2)
    near = np.isfinite(batch.distance_m)
    np.testing.assert_allclose(metres[near], batch.distance_m[near], rtol=1e-4)
    assert np.isinf(metres[~near]).all()
    how = replace(HOW, chunk=(4, 4))
    photos, tiles = pooled(batch, view)
    right = batch_dense_loss(photos, tiles, batch, view.extent_m, how)
    wrong = batch_dense_loss(photos, tiles, replace(batch, offset_m=-batch.offset_m), view.extent_m, how)
    assert right < wrong
