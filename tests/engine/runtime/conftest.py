"""Tiny halves, whose engines are built in a second, and pictures to check them with."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from crossgeo.engine.runtime.choose import RuntimeOptions, runtimes
from crossgeo.engine.runtime.half import Half
from crossgeo.engine.runtime.halves import describing, mapping, of_clicks, of_windows
from crossgeo.models.attengeo import PRESETS as OBJECTS
from crossgeo.models.attengeo import AttenGeo
from crossgeo.models.egotr import EgoTR, EgoTRConfig
from crossgeo.models.fold import fold_branch
from crossgeo.models.views import DroneView

logging.getLogger("torch.__trace").propagate = False  # thousands of lines an export, which pytest would keep
VIEW = DroneView(size_px=64)
TINY = EgoTRConfig("tiny", "efficientnet-lite0", (64, 64), (64, 64), 32, 2, 2, 64, descriptor=32, project=True, dropout=0.0)


class Colours(nn.Module):
    """Describes by what colours are where, which tells pictures apart without training; an engine of it is built in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(192, 32)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """(B, 3, 64, 64) -> (B, 32)."""
        cells = nn.functional.avg_pool2d(images, 8).flatten(1).to(self.project.weight.dtype)  # as our models take float32 in any precision
        return (nn.functional.normalize(self.project(cells), dim=1),)


@pytest.fixture(scope="session")
def pictures() -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 9, 9, 3), dtype=np.uint8)
    return np.stack([cv2.resize(one, (96, 96), interpolation=cv2.INTER_CUBIC) for one in coarse]).astype(np.uint8)


@pytest.fixture(scope="session")
def halves() -> Callable[[], dict[str, Half]]:
    """Make each half anew, with the same weights: a runtime may cast what it is given."""

    def make() -> dict[str, Half]:
        torch.manual_seed(0)
        branch = fold_branch(EgoTR(TINY).eval().aerial)
        small = AttenGeo(OBJECTS["attengeo-s"]).eval()
        model, digest = ("tiny", "0" * 64), "v" * 16
        aerial = describing(branch, VIEW, "aerial", model, digest)
        return {
            "plain": replace(aerial, name="plain", module=Colours().eval(), model=("colours", "2" * 64)),
            "aerial": aerial,
            "ground": describing(branch, VIEW, "ground", model, digest, with_maps=True),
            "maps": mapping(branch, VIEW, "maps", model, digest),
            "reference": of_windows(small, ("tiny-objects", "1" * 64), digest),
            "query": of_clicks(small, ("tiny-objects", "1" * 64), digest),
        }

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "engines"


@pytest.fixture(scope="session")
def _once(halves: Callable[[], dict[str, Half]], pictures: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    runtimes([halves()["plain"]], RuntimeOptions(runtime="onnxruntime", folder=folder), lambda: pictures)
    return folder


@pytest.fixture
def built(_once: Path, folder: Path) -> Path:
    """Return a folder with one engine, ONNX Runtime's of the plain half."""
    return shutil.copytree(_once, folder)
