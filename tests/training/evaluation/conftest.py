"""Small data sets on disk, and models that need no training: a panorama is its aerial picture unrolled, so colours tell it all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crossgeo.models.egotr import EgoTR, EgoTRConfig
from crossgeo.models.panorama import PanoramaView
from crossgeo.training.datasets.records import ObjectRecord, PanoramaRecord
from crossgeo.training.datasets.write import unroll, write_cvact, write_cvogl
from crossgeo.training.evaluation.describing import PairModel

Pixels = NDArray[np.uint8]
CRS = "EPSG:32755"
WEST, NORTH, GSD_M, SIDE_PX = 690_000.0, 6_090_000.0, 0.5, 128
VIEW = PanoramaView((32, 128), (32, 128), polar=True)
CONFIG = EgoTRConfig("tiny", "efficientnet-lite0", (32, 128), (32, 128), 16, 1, 2, 32, polar=True, dropout=0.0)


def ground(seed: int, side_px: int = 640) -> Pixels:
    """Coloured blobs of 10 m and more at 0.5 m a pixel."""
    noise = np.random.default_rng(seed).uniform(0, 255, (side_px // 20, side_px // 20, 3)).astype(np.float32)
    return np.clip(cv2.resize(noise, (side_px, side_px), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def picture(rgb: Pixels, x: float, y: float) -> Pixels:
    """The aerial picture about a place."""
    column, row = round((x - WEST) / GSD_M), round((NORTH - y) / GSD_M)
    return rgb[row - SIDE_PX // 2 : row + SIDE_PX // 2, column - SIDE_PX // 2 : column + SIDE_PX // 2]


def records(places: list[tuple[str, float, float, str]], seed: int = 1) -> list[PanoramaRecord]:
    rgb = ground(seed)
    made = []
    for name, east, south, split in places:
        x, y = WEST + east, NORTH - south
        aerial = picture(rgb, x, y)
        made.append(PanoramaRecord(name, unroll(aerial), aerial, (x, y), CRS, split, GSD_M))
    return made


@pytest.fixture(scope="session")
def cvact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight places of the test split, te00 and te07 of them 3 m apart, and four to train on."""
    places = [(f"te0{n}", 60.0 + 40.0 * (n % 4), 60.0 + 50.0 * (n // 4), "test") for n in range(7)]
    places += [("te07", 63.0, 60.0, "test")]
    places += [(f"tr0{n}", 70.0 + 37.0 * n, 200.0, "train") for n in range(4)]
    root = tmp_path_factory.mktemp("sets") / "cvact"
    write_cvact(records(places), root)
    return root


@pytest.fixture(scope="session")
def cvogl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clicks, each with its box of 60 x 40 px in a picture of 256 px."""
    rows = []
    for n in range(6):
        box = (40.0 + 20 * n, 60.0, 100.0 + 20 * n, 100.0)
        quad = (box[0], box[1], box[2], box[1], box[2], box[3], box[0], box[3])
        split = "train" if n < 2 else "val" if n == 2 else "test"
        photo, aerial = ground(10 + n, 80), ground(20 + n, 256)
        kind = "building" if n % 2 else "pond"
        rows.append(ObjectRecord(str(n), photo, aerial, (30.0, 40.0), box, quad, kind, split, "drone", CRS, (690_100.0 + n, 6_089_000.0)))
    root = tmp_path_factory.mktemp("sets") / "cvogl"
    write_cvogl(rows, root, "drone")
    return root


class Colours(nn.Module):
    """Describes by the mean colours of a grid."""

    image_hw = (32, 128)

    def forward(self, images: Tensor) -> Tensor:
        cells = nn.functional.avg_pool2d(images, 8).flatten(1)
        cells = cells - cells.mean(dim=1, keepdim=True)
        return nn.functional.normalize(cells, dim=1)


@pytest.fixture(scope="session")
def colours() -> PairModel:
    """A model that is right wherever colours agree."""
    tiny = EgoTR(CONFIG)
    card = {"name": "colours", "digest": "0" * 64, "view": VIEW.to_dict()}
    made = PairModel.of(card, CONFIG, tiny.ground, tiny.aerial)
    return PairModel(**{**vars(made), "ground": Colours(), "aerial": Colours()})


@pytest.fixture(scope="session")
def save_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """How to save an untrained network with a view."""
    from crossgeo.models.checkpoint import save_weights

    def save(name: str, view: dict[str, object], seed: int = 0) -> Path:
        torch.manual_seed(seed)
        path = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
        save_weights(path, EgoTR(CONFIG).state_dict(), {"name": name, "kind": "egotr", "config": CONFIG.to_dict(), "view": view})
        return path

    return save


def quiet(_stage: str, _done: int, _total: int) -> None:
    """Say nothing of progress."""


@pytest.fixture(scope="session", name="quiet")
def quiet_fixture() -> Callable[[str, int, int], None]:
    """Return the progress that says nothing."""
    return quiet
