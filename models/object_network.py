"""What the networks that find a clicked object share: two halves with features between them, anchors on a grid, the click map, colours."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from crossgeo.kernels.click_map import click_map
from crossgeo.models.views import ObjectView

AnchorSizes = tuple[tuple[float, float], ...]
PREDICTIONS = 5  # tx, ty, tw, th, confidence

# DetGeo's, for 1024 px on about 300 m.
DETGEO_ANCHORS: AnchorSizes = (
    (37.0, 41.0), (78.0, 84.0), (96.0, 215.0), (129.0, 129.0), (194.0, 82.0), (198.0, 179.0), (246.0, 280.0), (395.0, 342.0), (550.0, 573.0)
)  # fmt: skip
DETGEO_GSD_M = 300 / 1024


class ObjectConfig(Protocol):
    """What every configuration of such a network says."""

    @property
    def name(self) -> str:
        """Of the preset."""
        ...

    @property
    def stride(self) -> int:
        """Pixels of the window for a cell of the grid."""
        ...

    @property
    def window_px(self) -> int:
        """Side of the window."""
        ...

    @property
    def window_gsd_m(self) -> float:
        """Metres for a pixel of the window."""
        ...

    @property
    def photo_px(self) -> int:
        """Side of a drone photo's canvas."""
        ...

    @property
    def anchors(self) -> AnchorSizes:
        """(width, height) px of the window."""
        ...

    @property
    def mean(self) -> tuple[float, float, float]:
        """Of RGB / 255."""
        ...

    @property
    def std(self) -> tuple[float, float, float]:
        """Of RGB / 255."""
        ...

    @property
    def click_power(self) -> float:
        """Of the click map."""
        ...

    @property
    def look_deg(self) -> float:
        """Across a street photo's crop around the click; 0: photos from the air."""
        ...

    @property
    def view(self) -> ObjectView:
        """How photos and windows become the network's input."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a card."""
        ...


@dataclass(frozen=True)
class ReferenceFeatures:
    """What one half of the network keeps of a window: (B, C, g, g); it serves every click on it, in float32 or float16."""

    grid: Tensor

    def half(self) -> ReferenceFeatures:
        """Return the features in float16, as a cache keeps them."""
        return ReferenceFeatures(self.grid.half())

    def __getitem__(self, index: slice) -> ReferenceFeatures:
        """Return the features of some of the windows."""
        return ReferenceFeatures(self.grid[index])

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.grid)


class ObjectNetwork(nn.Module, ABC):
    """Photo and click against a window. Images are RGB in 0..255, uint8 or float; the config's mean and std are applied inside."""

    kind: ClassVar[str]  # in the cards of its weights
    mean: Tensor
    std: Tensor
    anchors: Tensor

    def __init__(self, config: ObjectConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1) * 255.0, persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1) * 255.0, persistent=False)
        self.register_buffer("anchors", torch.tensor(config.anchors), persistent=False)  # (A, 2) px

    @property
    @abstractmethod
    def config(self) -> ObjectConfig:
        """What shapes the network."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, which pictures and click maps are brought to; `mean` and `std` have that in which this is worked out."""
        return next(self.parameters()).dtype

    @property
    @abstractmethod
    def reference_channels(self) -> int:
        """C of the features of a window."""

    @abstractmethod
    def encode_reference(self, windows: Tensor, sights: Tensor | None = None) -> ReferenceFeatures:
        """Encode (B, 3, S, S) windows, RGB in 0..255, as (B, C, g, g) features; S must be a multiple of the stride.

        `sights` (B, 4), x0, y0, x1, y1 px, are the lines of sight of clicks in street photos; a model for the air takes none.
        """

    @abstractmethod
    def encode_query(self, photos: Tensor, clicks: Tensor) -> Tensor:
        """Encode (B, 3, h, w) photos, RGB in 0..255, with (B, 2) clicks in pixels as (B, C, h', w') features."""

    @abstractmethod
    def fuse(self, reference: Tensor, query: Tensor) -> Tensor:
        """Turn (B, C, g, g) reference features and (B, C, h', w') query features into raw (B, 5 A, g, g) predictions."""

    @abstractmethod
    def backbone_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of what reads pictures, before the views meet: they learn at a rate of their own."""

    @abstractmethod
    def freeze_backbone(self, layers: int) -> None:
        """Take the first `layers` of the backbone out of training, 0 none; ValueError for a network that is always trained whole."""

    def query(self, features: ReferenceFeatures, photos: Tensor, clicks: Tensor) -> Tensor:
        """Ask (B, C, g, g) features for what (B, 2) clicks in pixels show in (B, 3, h, w) photos: raw (B, A, 5, g, g) float32.

        One window serves B photos, and one photo B windows: whichever is alone is repeated.
        """
        return self.locate(features, self.encode_query(photos, clicks))

    def locate(self, features: ReferenceFeatures, query: Tensor) -> Tensor:
        """Fuse (B, C, g, g) features and (B, C, h', w') query features, either B may be 1: raw (B, A, 5, g, g) float32."""
        reference = features.grid.to(query.dtype)
        batch = max(len(reference), len(query))
        raw = self.fuse(reference.expand(batch, -1, -1, -1), query.expand(batch, -1, -1, -1))
        return raw.view(batch, len(self.anchors), PREDICTIONS, *raw.shape[-2:]).float()

    def forward(self, windows: Tensor, photos: Tensor, clicks: Tensor, sights: Tensor | None = None) -> Tensor:
        """Both halves at once: (B, 3, S, S) windows, (B, 3, h, w) photos, (B, 2) clicks, (B, 4) sights -> raw (B, A, 5, g, g)."""
        return self.query(self.encode_reference(windows, sights), photos, clicks)

    def check_windows(self, windows: Tensor, sights: Tensor | None) -> None:
        """Raise ValueError for windows that do not divide into cells, and for lines of sight that are missing or too many."""
        config = self.config
        if (sights is None) == (config.look_deg > 0.0):
            raise ValueError(f"{config.name} takes windows {'without' if sights is not None else 'with'} a line of sight")
        if windows.shape[-1] % config.stride or windows.shape[-2] % config.stride:
            raise ValueError(f"a window of {tuple(windows.shape[-2:])} px does not divide into cells of {config.stride} px")

    def pointed(self, clicks: Tensor, images: Tensor) -> Tensor:
        """Return the map (B, 1, h, w) of points or lines on images."""
        return click_map(clicks, images.shape[-2], images.shape[-1], self.config.click_power).to(self.dtype)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images less mean, over std, in the type of the weights."""
        return ((images.to(self.mean.dtype) - self.mean) / self.std).to(self.dtype)

    def begin_silent(self, head: nn.Conv2d) -> None:
        """Start a head of (5 A) channels so that it is as sure of each prior as is right on average: one in all is true."""
        priors = (self.config.window_px // self.config.stride) ** 2 * len(self.config.anchors)
        nn.init.normal_(head.weight, std=0.01)
        with torch.no_grad():
            assert head.bias is not None
            bias = head.bias.view(-1, PREDICTIONS)
            bias.zero_()
            bias[:, 4] = -math.log(priors - 1)
