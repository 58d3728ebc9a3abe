"""training/grad_cache.py: gradients of chunks are those of the whole batch, dropout and all."""

import pytest
import torch
from torch import Tensor, nn

from crossgeo.training.contrastive import info_nce
from crossgeo.training.grad_cache import cached_backward

ROWS, CHUNK = 10, 4  # the last chunk is a short one
PHOTOS, TILES = torch.randn(2, ROWS, 6, generator=torch.Generator().manual_seed(1))


def networks(dropout: float) -> nn.ModuleList:
    torch.manual_seed(2)
    return nn.ModuleList(nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Dropout(dropout), nn.Linear(32, 8)) for _ in range(2))


def loss_of(ground: Tensor, aerial: Tensor, log_temperature: Tensor) -> Tensor:
    unit = [nn.functional.normalize(side, dim=1) for side in (ground, aerial)]
    return info_nce(*unit, torch.zeros(len(ground), len(ground), dtype=torch.bool), log_temperature.exp())


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_chunks_leave_the_gradients_of_the_whole_batch(dropout: float) -> None:
    found = []
    for cached in (False, True):
        model, log_temperature = networks(dropout), nn.Parameter(torch.tensor(-2.0))

        def describe(rows: slice, model: nn.ModuleList = model) -> list[Tensor]:
            return [network(side[rows]) for network, side in zip(model, (PHOTOS, TILES), strict=True)]

        torch.manual_seed(3)
        if cached:
            loss = cached_backward(describe, ROWS, CHUNK, lambda g, a, t=log_temperature: loss_of(g, a, t), "cpu")
        else:
            parts = [describe(slice(start, min(start + CHUNK, ROWS))) for start in range(0, ROWS, CHUNK)]
            loss = loss_of(*(torch.cat(side) for side in zip(*parts, strict=True)), log_temperature)
            loss.backward()  # type: ignore[no-untyped-call]
        found.append((loss.detach(), torch.rand(1), [p.grad for p in (*model.parameters(), log_temperature)]))
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-5)


def test_a_side_that_is_not_trained_gets_no_gradient() -> None:
    model = networks(0.0)
    model[1].requires_grad_(False)
    side = (PHOTOS, TILES)
    cached_backward(lambda rows: [model[k](side[k][rows]) for k in (0, 1)], ROWS, CHUNK, lambda g, a: (g * a).sum(), "cpu")
    assert all(p.grad is not None for p in model[0].parameters())
    assert all(p.grad is None for p in model[1].parameters())
