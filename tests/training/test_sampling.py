"""training/sampling.py and training/contrastive.py: distances of a batch, and a loss that follows them."""

import numpy as np
import pytest
import torch

from crossgeo.models.views import DroneView
from crossgeo.training.contrastive import distance_targets, metric_contrastive_loss
from crossgeo.training.grounds import Ground, make_ground, usable_centres
from crossgeo.training.render import Cameras
from crossgeo.training.sampling import SiteSampler, SiteSampling


def test_a_batch_knows_how_far_its_photos_are_from_its_tiles(ground: Ground) -> None:
    sampler = SiteSampler([ground], DroneView(size_px=32), Cameras(width_px=64), SiteSampling(groups=2, sites=3))
    batch = sampler.batch(np.random.default_rng(0))
    assert batch.views.shape == batch.tiles.shape == (6, 32, 32, 3)
    assert np.isfinite(batch.distance_m[:3, :3]).all() and np.isfinite(batch.distance_m[3:, 3:]).all()
    assert np.isinf(batch.distance_m[:3, 3:]).all()
    assert (batch.distance_m.diagonal() < 25.0).all()
    assert not batch.ignore[:3, :3].any()


def test_ground_that_may_not_be_used_is_never_sampled(ground: Ground) -> None:
    usable = ground.usable.copy()
    usable[:, 400:] = False
    half = make_ground("half", list(ground.scenes), usable, ground.gsd_m, [], real=True)
    centres = usable_centres(half, 35.0)
    assert len(centres) > 0
    assert centres[:, 0].max() <= 400 - 35.0 / 0.25 * 0.9
    with pytest.raises(ValueError, match="no ground has room"):
        SiteSampler([make_ground("none", list(ground.scenes), usable & False, 0.25, [], real=True)], DroneView(), Cameras(), SiteSampling())


def test_near_tiles_share_the_target_and_far_ones_have_none() -> None:
    target = distance_targets(torch.tensor([[0.0, 5.0, 30.0, torch.inf]]), sigma_m=5.0, reach_m=20.0)
    weight = np.exp(-0.5)
    np.testing.assert_allclose(target.numpy(), [[1 / (1 + weight), weight / (1 + weight), 0.0, 0.0]], atol=1e-6)


def test_the_loss_is_least_where_similarity_follows_distance() -> None:
    distance = torch.tensor([[1.0, torch.inf], [torch.inf, 1.0]])
    ignore = torch.zeros(2, 2, dtype=torch.bool)
    right, wrong = torch.eye(2), torch.eye(2).flip(0)
    temperature = torch.tensor(0.1)
    assert metric_contrastive_loss(right, right, distance, ignore, temperature) < 1e-3
    assert metric_contrastive_loss(right, wrong, distance, ignore, temperature) > 5.0


def test_pairs_of_which_nothing_is_known_have_no_say() -> None:
    torch.manual_seed(0)
    ground = torch.nn.functional.normalize(torch.randn(3, 8), dim=1)
    aerial = torch.nn.functional.normalize(torch.randn(3, 8), dim=1)
    distance = torch.full((3, 3), torch.inf).fill_diagonal_(1.0)
    ignore = torch.zeros(3, 3, dtype=torch.bool)
    ignore[0, 1] = ignore[2, 1] = ignore[1, 0] = ignore[1, 2] = True  # pair 1 stands apart
    swapped = aerial.clone()
    swapped[1] = -aerial[1]
    swapped_ground = ground.clone()
    swapped_ground[1] = -ground[1]
    args = (distance, ignore, torch.tensor(0.1))
    left, right = metric_contrastive_loss(ground, aerial, *args), metric_contrastive_loss(swapped_ground, swapped, *args)
    assert left.item() == pytest.approx(right.item(), rel=1e-5)
