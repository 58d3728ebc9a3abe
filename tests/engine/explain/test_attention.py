"""Attention of a click: the maps of all turns, turned back, are what the network's own softmax says of clicked cells and box."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crossgeo.engine.explain.attention import ClickMaps, box_cells, click_cells, click_maps
from crossgeo.engine.fine import Spot
from crossgeo.engine.locate import ObjectFinder
from crossgeo.engine.pose import DronePose
from crossgeo.indexer.index import GeoIndex
from crossgeo.models.attengeo import AttenGeo
from crossgeo.models.attention_maps import watched

X, Y = 363_147.0, 3_057_452.0


def test_a_click_is_shared_by_the_cells_about_it() -> None:
    middle = click_cells(torch.tensor([32.0, 32.0]), 4, 64)
    assert middle[1:3, 1:3].tolist() == [[0.25, 0.25], [0.25, 0.25]] and middle.sum() == 1.0
    corner = click_cells(torch.tensor([64.0, 0.0]), 4, 64)
    assert corner[0, 3] == 1.0 and corner.sum() == 1.0


def test_a_box_is_shared_by_the_cells_that_it_covers() -> None:
    cells = box_cells((16.0, 0.0, 48.0, 8.0), 4, 64)
    assert cells[0].tolist() == [0.0, 0.5, 0.5, 0.0] and cells.sum() == 1.0
    assert box_cells((24.0, 24.0, 24.0, 24.0), 4, 64)[1, 1] == 1.0, "one without area is the cell it lies in"


@pytest.mark.parametrize("turns", [(0,), tuple(range(8))])
def test_maps_are_the_networks_own_of_every_turn(index_path: Path, ground: Any, network: AttenGeo, turns: tuple[int, ...]) -> None:
    photo, box = ground.photo(X, Y, 30.0, 95.0), (30.0, 20.0, 60.0, 44.0)
    with GeoIndex.open(index_path) as index:
        finder = ObjectFinder(index, copy.deepcopy(network), network.config.view, turns=turns)  # a runtime casts its own
        spot = Spot(index.segments[0], X, Y, DronePose(30.0, 95.0), 1.0, 3.0, 0)
        shown = finder.shown(photo, (110.0, 80.0), spot)
    assert shown is not None
    maps = click_maps(network, shown, box)
    assert [level.shape for level in maps.towards] == [(6, 6)] * 2 and maps.back is not None and maps.back.shape == (4, 4)
    assert all(level.sum() == pytest.approx(1.0) for level in (*maps.towards, maps.back))
    assert maps.spatial is not None and maps.spatial.shape == (6, 6) and 0.0 < maps.spatial.min() <= maps.spatial.max() < 1.0
    # The same in one batch, with numpy's turns, and sums written out.
    with torch.inference_mode(), watched(network) as seen:
        network(shown.windows, shown.photos, shown.clicks)
    towards, back = np.zeros((6, 6)), np.zeros((4, 4))
    for row, turn in enumerate(turns):
        query = seen.photo_to_window[0][row].double().numpy().mean(axis=0).reshape(4, 4, 6, 6)
        own = 0.25 * sum(query[r, c] for r in (1, 2) for c in (1, 2))  # a drone photo's click is in the middle
        fused = seen.window_to_photo[-1][row].double().numpy().mean(axis=0).reshape(6, 6, 4, 4)
        weights = np.zeros((6, 6))
        weights[1:3, 2:4] = np.outer([12 / 24, 12 / 24], [14 / 30, 16 / 30])
        weights[1:3, 1] = 2 / 30 / 2  # 30 lies 2 px before the cell's end at 32
        weights[1:3, 2], weights[1:3, 3] = 16 / 30 / 2, 12 / 30 / 2
        turned = np.rot90(weights[:, ::-1] if turn >= 4 else weights, turn % 4)
        look = np.einsum("rc,rcxy->xy", turned, fused)
        for both, part in ((towards, own), (back, look)):
            straight = np.rot90(part, -(turn % 4))
            np.add(both, (straight[:, ::-1] if turn >= 4 else straight) / len(turns), out=both)
    np.testing.assert_allclose(maps.towards[0], towards, atol=1e-6)
    np.testing.assert_allclose(maps.back, back, atol=1e-6)


def test_a_network_without_cvcam_and_mhsam_has_no_maps(index_path: Path, ground: Any, network: AttenGeo) -> None:
    bare = AttenGeo(dataclasses.replace(network.config, cvcam=False, mhsam=False)).eval()
    with GeoIndex.open(index_path) as index:
        finder = ObjectFinder(index, copy.deepcopy(bare), bare.config.view, turns=(0, 5))
        shown = finder.shown(
            ground.photo(X, Y, 30.0, 95.0), (110.0, 80.0), Spot(index.segments[0], X, Y, DronePose(30.0, 95.0), 1.0, 3.0, 0)
        )
    assert shown is not None
    assert click_maps(bare, shown, (0.0, 0.0, 9.0, 9.0)) == ClickMaps((), None, None)
