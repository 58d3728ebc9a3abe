"""AttenGeo finds the object clicked in a photo inside a window of aerial imagery (dual attention: CVCAM and MHSAM), as two halves."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from crossgeo.models import convnextv2, efficientnet_lite
from crossgeo.models.click_backbone import BackboneName, freeze_first, make_backbone
from crossgeo.models.cvcam import CVCAM
from crossgeo.models.mhsam import KERNELS, MHSAM
from crossgeo.models.object_network import DETGEO_ANCHORS, DETGEO_GSD_M, PREDICTIONS, AnchorSizes, ObjectNetwork, ReferenceFeatures
from crossgeo.models.street_view import StreetObjectView
from crossgeo.models.views import ObjectView


@dataclass(frozen=True)
class AttenGeoConfig:
    """What shapes the network and says what its pixels are; saved with its weights."""

    name: str
    backbone: BackboneName
    depths: tuple[int, ...]  # ConvNeXt V2: blocks of each stage; EfficientNet-Lite0: one number, its stages
    widths: tuple[int, ...]  # ConvNeXt V2: channels of each stage; EfficientNet-Lite0: none
    stride: int  # px of the window for a cell of the grid
    window_px: int  # side of the window
    window_gsd_m: float  # metres for a pixel of the window
    photo_px: int  # side of a drone photo's canvas; the network takes any shape
    channels: int  # C of both views after their 1x1 maps
    heads: int
    hidden: int  # of the FFN of each CAB
    iterations: int  # k of CVCAM
    spatial_hidden: int  # of each head of MHSAM
    anchors: AnchorSizes  # (width, height) px of the window
    mean: tuple[float, float, float]  # of RGB / 255
    std: tuple[float, float, float]
    click_power: float = 2.0  # of the click map, and of the line of sight's; 2 is DetGeo's
    cvcam: bool = True  # False: the paper's baseline, the photo's mean feature is added to every cell of the window
    mhsam: bool = True  # False: the fused features go to the head as they are
    look_deg: float = 0.0  # across a street photo's crop around the click, whose line of sight the window shows; 0: photos from the air
    ahead_m: float = 0.0  # of a street camera, along the click, where the window is centred

    def __post_init__(self) -> None:
        """Refuse sizes that do not go together (ValueError)."""
        if self.window_px % self.stride or self.window_px // self.stride < max(KERNELS):
            raise ValueError(f"a window of {self.window_px} px is not a grid of at least {max(KERNELS)} cells of {self.stride} px")
        if not self.anchors:
            raise ValueError(f"{self.name} has no anchors")

    @property
    def view(self) -> ObjectView:
        """How photos and windows become this model's input."""
        sizes = self.photo_px, self.window_px, self.window_gsd_m, self.mean, self.std
        return StreetObjectView(*sizes, self.ahead_m, self.look_deg) if self.look_deg else ObjectView(*sizes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AttenGeoConfig:
        """Read what `to_dict` gave (JSON turns tuples into lists)."""
        tuples = {key: tuple(values[key]) for key in ("depths", "widths", "mean", "std")}
        return cls(**{**values, **tuples, "anchors": tuple((float(w), float(h)) for w, h in values["anchors"])})


# Buildings of 4 to 24 m at 0.1875 m/px: medians of clusters by IoU of OpenStreetMap buildings in Nepal and Zanzibar, spread a little.
_SMALL_ANCHORS: AnchorSizes = (
    (23.0, 23.0), (29.0, 40.0), (45.0, 33.0), (41.0, 49.0), (57.0, 52.0), (51.0, 72.0), (79.0, 61.0), (77.0, 89.0), (128.0, 128.0)
)  # fmt: skip

# The same at 0.25 m/px, and crowns of trees.
_STREET_ANCHORS: AnchorSizes = (
    (14.0, 14.0), (21.0, 22.0), (24.0, 34.0), (35.0, 26.0), (36.0, 40.0), (48.0, 40.0), (43.0, 60.0), (64.0, 58.0), (96.0, 96.0)
)  # fmt: skip

_ATTENGEO = AttenGeoConfig(
    "attengeo", "convnextv2", convnextv2.TINY_DEPTHS, convnextv2.TINY_WIDTHS, stride=32, window_px=1024, window_gsd_m=DETGEO_GSD_M,
    photo_px=256, channels=256, heads=8, hidden=1024, iterations=4, spatial_hidden=512, anchors=DETGEO_ANCHORS,
    mean=convnextv2.MEAN, std=convnextv2.STD,
)  # fmt: skip

PRESETS = {
    "attengeo": _ATTENGEO,
    "attengeo-cvcam": replace(_ATTENGEO, name="attengeo-cvcam", mhsam=False),  # the paper's ablations
    "attengeo-baseline": replace(_ATTENGEO, name="attengeo-baseline", cvcam=False, mhsam=False),
    "attengeo-s": AttenGeoConfig(
        "attengeo-s", "efficientnet-lite0", (5,), (), stride=16, window_px=256, window_gsd_m=0.1875,
        photo_px=160, channels=128, heads=4, hidden=512, iterations=2, spatial_hidden=128, anchors=_SMALL_ANCHORS,
        mean=efficientnet_lite.MEAN, std=efficientnet_lite.STD,
    ),
    "attengeo-s-street": AttenGeoConfig(
        "attengeo-s-street", "efficientnet-lite0", (5,), (), stride=16, window_px=288, window_gsd_m=0.25,
        photo_px=160, channels=128, heads=4, hidden=512, iterations=2, spatial_hidden=128, anchors=_STREET_ANCHORS,
        mean=efficientnet_lite.MEAN, std=efficientnet_lite.STD, click_power=16.0, look_deg=64.0, ahead_m=30.0,
    ),
}  # fmt: skip


class AttenGeo(ObjectNetwork):
    """Photo and click against a window: shared backbone, CVCAM, MHSAM, nine anchors.

    The backbone's weights serve both views; the click map is the fourth input channel of the photo. The window does without, or has the
    click's line of sight there.
    """

    kind: ClassVar[str] = "attengeo"

    def __init__(self, config: AttenGeoConfig) -> None:
        super().__init__(config)
        self._config = config
        self.backbone = make_backbone(config.backbone, config.depths, config.widths)
        if self.backbone.stride != config.stride:
            raise ValueError(f"{config.name} asks for stride {config.stride}, its backbone gives {self.backbone.stride}")
        self.reference_map = nn.Conv2d(self.backbone.channels, config.channels, 1)
        self.query_map = nn.Conv2d(self.backbone.channels, config.channels, 1)
        self.cvcam = CVCAM(config.channels, config.heads, config.hidden, config.iterations) if config.cvcam else None
        self.mhsam = MHSAM(config.channels, config.spatial_hidden) if config.mhsam else None
        self.head = nn.Conv2d(config.channels, len(config.anchors) * PREDICTIONS, 1)
        self.begin_silent(self.head)

    @property
    def config(self) -> AttenGeoConfig:
        """What shapes the network."""
        return self._config

    @property
    def reference_channels(self) -> int:
        """C of the features of a window."""
        return self._config.channels

    def encode_reference(self, windows: Tensor, sights: Tensor | None = None) -> ReferenceFeatures:
        """Encode (B, 3, S, S) windows (`ObjectNetwork`) as (B, C, S / stride, S / stride) features."""
        self.check_windows(windows, sights)
        images = self.normalise(windows)
        if sights is not None:
            images = torch.cat([images, self.pointed(sights, windows)], dim=1)
        return ReferenceFeatures(self.reference_map(self.backbone(images)))

    def encode_query(self, photos: Tensor, clicks: Tensor) -> Tensor:
        """Encode (B, 3, h, w) photos with clicks (`ObjectNetwork`) as (B, C, h / stride, w / stride) features."""
        features: Tensor = self.query_map(self.backbone(torch.cat([self.normalise(photos), self.pointed(clicks, photos)], dim=1)))
        return features

    def fuse(self, reference: Tensor, query: Tensor) -> Tensor:
        """Let CVCAM fuse both views, MHSAM weigh the result and the head predict (`ObjectNetwork`)."""
        if self.cvcam is not None:
            fused = self.cvcam(query, reference)
        else:
            fused = reference + query.mean(dim=(2, 3), keepdim=True)
        if self.mhsam is not None:
            fused = self.mhsam(fused)
        raw: Tensor = self.head(fused)
        return raw

    def load_backbone(self, state: dict[str, Tensor]) -> None:
        """Start the backbone from its published ImageNet weights; the click channel starts at zero."""
        self.backbone.load_published(state)

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the backbone that both views share (`ObjectNetwork`)."""
        return list(self.backbone.parameters())

    def freeze_backbone(self, layers: int) -> None:
        """Take the stem and the next `layers - 1` blocks out of training; the click channel goes on learning."""
        freeze_first(self.backbone, layers)
