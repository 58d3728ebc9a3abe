"""DetGeo, the first network that found clicked objects across views (Sun et al. 2023), written from its paper and its checkpoints' tensors.

It is here for its users' checkpoints, and as the baseline on which AttenGeo's authors tried CVCAM and MHSAM (their portability table).
What the paper does not say was inferred and is a default, not a fact: ReLU after every batch norm outside of Darknet, and that the
smallest and the largest cosine are taken as given when the network learns.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossgeo.models import convnextv2
from crossgeo.models.cvcam import CVCAM
from crossgeo.models.darknet import Darknet
from crossgeo.models.mhsam import MHSAM
from crossgeo.models.object_network import DETGEO_ANCHORS, DETGEO_GSD_M, PREDICTIONS, AnchorSizes, ObjectNetwork, ReferenceFeatures
from crossgeo.models.resnet18 import ResNet18
from crossgeo.models.views import ObjectView

CHANNELS = 512


@dataclass(frozen=True)
class DetGeoConfig:
    """What shapes the network and says what its pixels are; saved with its weights."""

    name: str = "detgeo"
    fusion: Literal["cosine", "cvcam"] = "cosine"  # cvcam: the portability table's
    mhsam: bool = False  # True: the portability table's
    window_px: int = 1024
    window_gsd_m: float = DETGEO_GSD_M
    photo_px: int = 256
    anchors: AnchorSizes = DETGEO_ANCHORS
    mean: tuple[float, float, float] = convnextv2.MEAN  # ImageNet's
    std: tuple[float, float, float] = convnextv2.STD
    click_power: float = 2.0
    heads: int = 8  # of CVCAM
    hidden: int = 1024  # of the FFN of each of its blocks
    iterations: int = 4  # k of CVCAM
    spatial_hidden: int = 512  # of each head of MHSAM

    @property
    def stride(self) -> int:
        """Of the grid."""
        return 16

    @property
    def look_deg(self) -> float:
        """Photos come as they are, from above and from the street."""
        return 0.0

    @property
    def view(self) -> ObjectView:
        """How photos and windows become this network's input."""
        return ObjectView(self.photo_px, self.window_px, self.window_gsd_m, self.mean, self.std)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DetGeoConfig:
        """Read what `to_dict` gave (JSON turns tuples into lists)."""
        tuples = {key: tuple(values[key]) for key in ("mean", "std")}
        return cls(**{**values, **tuples, "anchors": tuple((float(w), float(h)) for w, h in values["anchors"])})


PRESETS = {
    "detgeo": DetGeoConfig(),
    "detgeo-cvcam": DetGeoConfig("detgeo-cvcam", fusion="cvcam"),
    "detgeo-mhsam": DetGeoConfig("detgeo-mhsam", mhsam=True),
}


class ConvNormReLU(nn.Module):
    """A 1x1 convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        return F.relu(self.norm(self.conv(x)))


class DetGeo(ObjectNetwork):
    """ResNet-18 reads photo and click map, Darknet-53 the window; cells of the window are weighed by how like the photo they are."""

    kind: ClassVar[str] = "detgeo"

    def __init__(self, config: DetGeoConfig = PRESETS["detgeo"]) -> None:
        super().__init__(config)
        self._config = config
        self.point = ConvNormReLU(4, 3)
        self.photo_net = ResNet18()
        self.window_net = Darknet()
        self.query_map = ConvNormReLU(CHANNELS, CHANNELS)
        self.reference_map = ConvNormReLU(CHANNELS, CHANNELS)
        self.cvcam = CVCAM(CHANNELS, config.heads, config.hidden, config.iterations) if config.fusion == "cvcam" else None
        self.mhsam = MHSAM(CHANNELS, config.spatial_hidden) if config.mhsam else None
        last = nn.Conv2d(CHANNELS // 2, len(config.anchors) * PREDICTIONS, 1)
        self.begin_silent(last)
        self.head = nn.Sequential(ConvNormReLU(CHANNELS, CHANNELS // 2), last)

    @property
    def config(self) -> DetGeoConfig:
        """What shapes the network."""
        return self._config

    @property
    def reference_channels(self) -> int:
        """C of the features of a window."""
        return CHANNELS

    def encode_reference(self, windows: Tensor, sights: Tensor | None = None) -> ReferenceFeatures:
        """Encode (B, 3, S, S) windows (`ObjectNetwork`) as (B, 512, S / 16, S / 16) features."""
        self.check_windows(windows, sights)
        return ReferenceFeatures(self.reference_map(self.window_net(self.normalise(windows))))

    def encode_query(self, photos: Tensor, clicks: Tensor) -> Tensor:
        """Encode (B, 3, h, w) photos with clicks (`ObjectNetwork`) as (B, 512, h / 32, w / 32) features."""
        pointed = self.point(torch.cat([self.normalise(photos), self.pointed(clicks, photos)], dim=1))
        features: Tensor = self.query_map(self.photo_net(pointed))
        return features

    def fuse(self, reference: Tensor, query: Tensor) -> Tensor:
        """Weigh the window by its likeness to the photo, or let CVCAM fuse them, and predict (`ObjectNetwork`)."""
        fused = by_likeness(reference, query) if self.cvcam is None else self.cvcam(query, reference)
        if self.mhsam is not None:
            fused = self.mhsam(fused)
        raw: Tensor = self.head(fused)
        return raw

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of ResNet-18 and Darknet-53 (`ObjectNetwork`)."""
        return [*self.photo_net.parameters(), *self.window_net.parameters()]

    def freeze_backbone(self, layers: int) -> None:
        """Raise ValueError unless `layers` is 0: two backbones with batch norms, whose statistics move on, are trained whole."""
        if layers:
            raise ValueError(f"{self.config.name} is trained whole; freeze 0 layers of it, not {layers}")


def by_likeness(reference: Tensor, query: Tensor) -> Tensor:
    """Weigh (B, C, g, g) cells, as unit vectors, by their cosine with the mean of (B, C, h, w) query features.

    The cosines are scaled to 0..1 in each image.
    """
    cells = F.normalize(reference, dim=1)
    asked = F.normalize(query.mean(dim=(2, 3)), dim=1)[:, :, None, None]
    likeness = (cells * asked).sum(dim=1, keepdim=True)  # (B, 1, g, g)
    low, high = likeness.detach().aminmax(dim=-1)
    low, high = low.amin(dim=-1)[..., None, None], high.amax(dim=-1)[..., None, None]
    return (likeness - low) / (high - low).clamp(min=torch.finfo(cells.dtype).tiny) * cells
