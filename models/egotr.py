"""EgoTR, a transformer that describes ground and aerial images as 768-d unit vectors (Yang, Lu and Zhu 2021, published as L2LTR)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossgeo.models.efficientnet_lite import EfficientNetLite
from crossgeo.models.resnetv2 import STYLES, ResNetV2
from crossgeo.models.transformer import NORM_EPS, Layer

STRIDE = 16
Stem = EfficientNetLite | ResNetV2


@dataclass(frozen=True)
class EgoTRConfig:
    """What shapes the network; saved with its weights."""

    name: str
    stem: Literal["resnetv2", "resnetv2-same", "efficientnet-lite0"]  # the second as timm's ImageNet-21k hybrid computes it
    ground_hw: tuple[int, int]  # px
    aerial_hw: tuple[int, int]  # px
    width: int
    layers: int
    heads: int
    hidden: int
    descriptor: int = 768
    project: bool = False  # a linear layer from width to descriptor after the last norm
    cross: bool = True  # False: the paper's ablation with plain self-attention
    position: bool = True  # False: the paper's ablation without position embedding
    polar: bool = False  # True: the aerial input went through the polar transform (Polar-EgoTR)
    dropout: float = 0.1

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EgoTRConfig:
        """Read what `to_dict` gave (JSON turns tuples into lists)."""
        return cls(**{**values, "ground_hw": tuple(values["ground_hw"]), "aerial_hw": tuple(values["aerial_hw"])})


_EGOTR = EgoTRConfig("egotr-b", "resnetv2", (128, 512), (256, 256), 768, 12, 12, 3072)
_POLAR = EgoTRConfig("polar-egotr-b", "resnetv2", (128, 512), (128, 512), 768, 12, 12, 3072, polar=True)

_EVERY = (
    _EGOTR,
    _POLAR,
    replace(_EGOTR, name="egotr-b-no-position", position=False),  # the paper's ablations
    replace(_POLAR, name="polar-egotr-b-no-position", position=False),
    replace(_POLAR, name="polar-egotr-b-self", cross=False),
    EgoTRConfig("egotr-s", "efficientnet-lite0", (160, 160), (160, 160), 192, 8, 6, 768, project=True, dropout=0.0),
)
PRESETS = {config.name: config for config in _EVERY}


class EgoTRBranch(nn.Module):
    """One branch: convolutional stem, class token, position embedding, self-cross layers, unit descriptor."""

    def __init__(self, config: EgoTRConfig, image_hw: tuple[int, int]) -> None:
        super().__init__()
        if image_hw[0] % STRIDE or image_hw[1] % STRIDE:
            raise ValueError(f"image size {image_hw} is not a multiple of {STRIDE} px")
        self.image_hw = image_hw
        self.stem: nn.Module
        if config.stem == "efficientnet-lite0":
            self.stem, channels = EfficientNetLite(stages=5), 112
        else:
            self.stem, channels = ResNetV2(style=STYLES[config.stem]), 1024
        tokens = (image_hw[0] // STRIDE) * (image_hw[1] // STRIDE)
        self.embed = nn.Conv2d(channels, config.width, 1)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.position: nn.Parameter | None = None
        if config.position:
            self.position = nn.Parameter(torch.zeros(1, 1 + tokens, config.width))
            nn.init.trunc_normal_(self.position, std=0.02)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            Layer(config.width, config.heads, config.hidden, config.dropout, config.cross) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.project = nn.Linear(config.width, config.descriptor) if config.project else nn.Identity()

    def tokens(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised RGB images to (B, 1 + N, C) tokens after the last norm, class token first (sec. 3.2)."""
        return self._tokens(self.stem(images))

    def _tokens(self, features: Tensor) -> Tensor:
        patches = self.embed(features).flatten(2).transpose(1, 2)  # (B, N, C)
        tokens = torch.cat([self.class_token.expand(patches.shape[0], -1, -1).to(patches.dtype), patches], dim=1)  # (B, 1 + N, C)
        if self.position is not None:
            tokens = tokens + self.position
        tokens = previous = self.dropout(tokens)
        for layer in self.layers:
            tokens, previous = layer(tokens, previous), tokens  # eq. 3: keys come from the layer before
        return cast(Tensor, self.norm(tokens))

    def forward(self, images: Tensor) -> Tensor:
        """Describe (B, 3, H, W) normalised RGB images as (B, D) unit vectors, float32 unless the weights are float64."""
        return self._describe(self.stem(images))

    def with_maps(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Describe images as `forward` does, and return the stem's maps of the same pass at strides 8 and 16."""
        maps = cast(Stem, self.stem).pyramid(images)
        return self._describe(maps[-1]), maps

    def _describe(self, features: Tensor) -> Tensor:
        descriptors: Tensor = self.project(self._tokens(features)[:, 0])  # (B, D)
        return F.normalize(descriptors if descriptors.dtype == torch.float64 else descriptors.float(), dim=-1)


class EgoTR(nn.Module):
    """Two independent branches of one structure; nothing is shared between them."""

    def __init__(self, config: EgoTRConfig) -> None:
        super().__init__()
        self.config = config
        self.ground = EgoTRBranch(config, config.ground_hw)
        self.aerial = EgoTRBranch(config, config.aerial_hw)

    def forward(self, ground: Tensor, aerial: Tensor) -> tuple[Tensor, Tensor]:
        """Describe (B, 3, H, W) ground and aerial images as two (B, D) unit vectors."""
        return self.ground(ground), self.aerial(aerial)

    def load_stem(self, state: dict[str, Tensor]) -> None:
        """Start both stems from published EfficientNet-Lite0 weights."""
        for branch in (self.ground, self.aerial):
            if not isinstance(branch.stem, EfficientNetLite):
                raise ValueError(f"{self.config.name} has no EfficientNet-Lite0 stem")
            branch.stem.load_published(state)
