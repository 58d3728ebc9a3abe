"""models/attention_maps.py: the maps are the softmax and the sigmoid of their equations, and asking for them changes nothing."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossgeo.models.attengeo import PRESETS, AttenGeo
from crossgeo.models.attention_maps import watched
from crossgeo.models.cvcam import CVCAM, sine_positions
from crossgeo.models.mhsam import MHSAM

SMALL = dataclasses.replace(PRESETS["attengeo-s"], window_px=96, photo_px=64)


def by_hand(queries: Tensor, keys: Tensor, query: nn.Linear, key: nn.Linear, heads: int) -> np.ndarray:
    """The softmax over keys, head by head, in numpy."""
    q, k = ((x @ linear.weight.T + linear.bias).detach().numpy() for x, linear in ((queries, query), (keys, key)))
    rows = []
    for head in np.split(np.arange(q.shape[1]), heads):
        scores = np.exp(q[:, head] @ k[:, head].T / np.sqrt(len(head)))
        rows.append(scores / scores.sum(axis=1, keepdims=True))
    return np.stack(rows)


def test_cross_attention_is_the_softmax_of_its_equation() -> None:
    torch.manual_seed(0)
    model = CVCAM(8, 2, 12, 1).double()
    query, reference = torch.randn(1, 8, 2, 3, dtype=torch.float64), torch.randn(1, 8, 4, 3, dtype=torch.float64)
    with watched(model) as maps:
        model(query, reference)
    q, r = (view.flatten(2).transpose(1, 2)[0] for view in (query, reference))
    pq, pr = sine_positions(2, 3, 8).double(), sine_positions(4, 3, 8).double()
    assert (len(maps.photo_to_window), len(maps.window_to_photo), maps.spatial) == (1, 2, [])
    first = model.query_blocks[0]
    own = by_hand(q + pq, r + pr, first.attention.query, first.attention.key, 2)
    np.testing.assert_allclose(maps.photo_to_window[0][0].numpy(), own, atol=1e-14)
    new_q, new_r = first(q[None], pq, r[None], pr)[0], model.reference_blocks[0](r[None], pr, q[None], pq)[0]
    last = by_hand(new_r + pr, new_q + pq, model.fuse.attention.query, model.fuse.attention.key, 2)
    np.testing.assert_allclose(maps.window_to_photo[-1][0].numpy(), last, atol=1e-14)


def test_the_maps_weigh_values_into_what_the_block_computes() -> None:
    torch.manual_seed(1)
    model = CVCAM(8, 2, 12, 2).double()
    block = model.fuse.attention
    x, y = torch.randn(3, 5, 8, dtype=torch.float64), torch.randn(3, 7, 8, dtype=torch.float64)
    values = block.value(y).view(3, 7, 2, 4).transpose(1, 2)  # (B, H, N, C / H)
    mixed = (block.weights(x, y) @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(block.out(mixed), block(x, y, y))


def test_spatial_attention_is_what_features_are_weighed_by() -> None:
    torch.manual_seed(2)
    model, features = MHSAM(6, 10).double(), torch.randn(2, 6, 7, 9, dtype=torch.float64)
    with watched(model) as maps:
        weighed = model(features)
    total = torch.stack([head(features) for head in model.heads]).sum(dim=0)
    torch.testing.assert_close(maps.spatial[0], 1.0 / (1.0 + torch.exp(-total)))
    torch.testing.assert_close(maps.spatial[0] * features, weighed)


def asked(network: AttenGeo) -> Tensor:
    windows, photos = torch.arange(2 * 3 * 96 * 96).view(2, 3, 96, 96) % 251, torch.arange(2 * 3 * 64 * 64).view(2, 3, 64, 64) % 241
    with torch.inference_mode():
        result: Tensor = network(windows, photos, torch.tensor([[10.0, 20.0], [40.0, 9.0]]))
    return result


def test_asking_changes_no_output_and_leaves_nothing_behind() -> None:
    torch.manual_seed(3)
    network = AttenGeo(SMALL).eval()
    before = asked(network)
    with watched(network) as maps:
        during = asked(network)
    assert torch.equal(before, during) and torch.equal(before, asked(network))
    assert [tuple(level.shape) for level in maps.photo_to_window] == [(2, 4, 16, 36)] * 2
    assert [tuple(level.shape) for level in maps.window_to_photo] == [(2, 4, 36, 16)] * 3
    assert [tuple(level.shape) for level in maps.spatial] == [(2, 128, 6, 6)], "a pass after the block is not collected"
    for level in (*maps.photo_to_window, *maps.window_to_photo):
        torch.testing.assert_close(level.sum(dim=-1), torch.ones(level.shape[:-1]))
    with pytest.raises(RuntimeError, match="stop"), watched(network):
        raise RuntimeError("stop")
    assert not any(module._forward_hooks for module in network.modules())


def test_networks_without_a_module_have_no_maps_of_it() -> None:
    without = AttenGeo(dataclasses.replace(SMALL, cvcam=False, mhsam=False)).eval()
    with watched(without) as maps:
        asked(without)
    assert (maps.photo_to_window, maps.window_to_photo, maps.spatial) == ([], [], [])
