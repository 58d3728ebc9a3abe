"""EgoTR for inference, the same function with fewer products: LayerNorm affines folded into the projections that follow them.

Without their affines the norms of layer l's queries and values and of layer l + 1's keys (Yang et al. 2021, eq. 3) are one, so
[Q_l | V_l | K_{l+1}] is one product per layer. Weight standardisation is done once, and the last layer computes the class token alone.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossgeo.kernels.cross_attention import cross_attention
from crossgeo.models.egotr import EgoTRBranch, Stem
from crossgeo.models.low_precision import like_weights
from crossgeo.models.resnetv2 import WSConv2d
from crossgeo.models.transformer import NORM_EPS, Layer

_STEM_BATCH = 4


class FoldedLayer(nn.Module):
    """One layer after folding; `first` also makes its own keys, `last` makes no keys for a next layer and keeps the class token alone."""

    def __init__(self, layer: Layer, following: Layer | None, first: bool) -> None:
        super().__init__()
        attend = layer.attention
        self.heads = attend.heads
        self.backend = attend.backend
        self.last = following is None
        self.makes_keys = first or not layer.cross
        self.hands_keys = following is not None and layer.cross
        parts = [fold_norm(layer.norm, attend.value)]
        if not self.last:
            parts.append(fold_norm(layer.norm, attend.query))
        if self.makes_keys:
            parts.append(fold_norm(layer.key_norm, attend.key))
        if following is not None and layer.cross:
            parts.append(fold_norm(following.key_norm, following.attention.key))
        self.project = _join(parts)
        self.class_query = fold_norm(layer.norm, attend.query) if self.last else nn.Identity()
        self.out = copy.deepcopy(attend.out)
        self.expand = fold_norm(layer.mlp_norm, layer.expand)
        self.contract = copy.deepcopy(layer.contract)

    def forward(self, tokens: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Map (B, N, C) tokens, given this layer's (B, N, C) keys unless it makes them, to (B, N or 1, C) and the next layer's keys."""
        plain = _plain_norm(tokens)
        parts = list(self.project(plain).chunk(self.project.out_features // tokens.shape[-1], dim=-1))  # each (B, N, C)
        value = parts.pop(0)
        query = self.class_query(plain[:, :1]) if self.last else parts.pop(0)
        if self.makes_keys:
            keys = parts.pop(0)
        assert keys is not None
        mixed = cross_attention(query, keys, value, self.heads, backend=self.backend)  # (B, N or 1, C)
        if self.last:
            tokens = tokens[:, :1]
        tokens = tokens + self.out(mixed)
        tokens = tokens + self.contract(F.gelu(self.expand(_plain_norm(tokens))))
        return tokens, parts.pop(0) if self.hands_keys else None


class FoldedBranch(nn.Module):
    """What `fold_branch` returns: images to descriptors, for inference only, in the dtype and on the device of the branch."""

    def __init__(self, branch: EgoTRBranch) -> None:
        super().__init__()
        self.image_hw = branch.image_hw
        self.stem = fold_weight_standardisation(copy.deepcopy(branch.stem))
        self.embed = copy.deepcopy(branch.embed)
        class_token = branch.class_token if branch.position is None else branch.class_token + branch.position[:, :1]
        self.class_token = nn.Parameter(class_token.clone())  # (1, 1, C)
        self.position = None if branch.position is None else nn.Parameter(branch.position[:, 1:].clone())  # (1, N, C)
        layers = [cast(Layer, layer) for layer in branch.layers]
        self.layers = nn.ModuleList(
            FoldedLayer(layer, following, first=index == 0)
            for index, (layer, following) in enumerate(zip(layers, [*layers[1:], None], strict=True))
        )
        self.norm: nn.Module = copy.deepcopy(branch.norm)
        self.project: nn.Module = copy.deepcopy(branch.project)
        if isinstance(branch.project, nn.Linear):
            self.norm = nn.LayerNorm(branch.norm.normalized_shape, eps=NORM_EPS, elementwise_affine=False)
            self.project = fold_norm(branch.norm, branch.project)

    def forward(self, images: Tensor) -> Tensor:
        """Describe (B, 3, H, W) normalised RGB images as (B, D) unit vectors, float32 unless the weights are float64."""
        return self._describe(torch.cat([self.stem(part) for part in stem_parts(like_weights(images, self.stem))]))

    def with_maps(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Describe images as `forward` does, and return the stem's maps of the same pass at strides 8 and 16."""
        maps = stem_maps(cast(Stem, self.stem), images)
        return self._describe(maps[-1]), maps

    def _describe(self, features: Tensor) -> Tensor:
        patches = self.embed(features).flatten(2).transpose(1, 2)  # (B, N, C)
        if self.position is not None:
            patches = patches + self.position
        tokens = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)  # (B, 1 + N, C)
        keys: Tensor | None = None
        for layer in self.layers:
            tokens, keys = layer(tokens, keys)
        descriptors: Tensor = self.project(self.norm(tokens)[:, 0])  # (B, D)
        return F.normalize(descriptors if descriptors.dtype == torch.float64 else descriptors.float(), dim=-1)


def stem_parts(images: Tensor) -> tuple[Tensor, ...]:
    """Cut (B, 3, H, W) images into what a stem takes at once.

    On a CPU that is few: first maps larger than the allocator keeps are paged in anew at each layer, which takes half as long again.
    """
    apart = images.device.type == "cpu" and not torch.compiler.is_exporting()  # an export is of any batch, which no list of parts can be
    return torch.split(images, _STEM_BATCH) if apart else (images,)


def stem_maps(stem: Stem, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return `stem.pyramid` of (B, 3, H, W) images, a few at a time."""
    parts = [stem.pyramid(part) for part in stem_parts(like_weights(images, stem))]
    return torch.cat([middle for middle, _ in parts]), torch.cat([last for _, last in parts])


def fold_branch(branch: EgoTRBranch) -> FoldedBranch:
    """Copy a branch into its inference form: the same descriptors to rounding (below 1e-5 in float32), no gradients, no dropout."""
    with torch.no_grad():
        return FoldedBranch(branch).eval().requires_grad_(False)


def fold_norm(norm: nn.LayerNorm, linear: nn.Linear) -> nn.Linear:
    """Return the linear layer that does to a norm's plain output what `linear` does after the norm's affine: W diag(g), W b + c."""
    weight = linear.weight.double() * norm.weight.double()
    bias = linear.weight.double() @ norm.bias.double() + linear.bias.double()
    return _linear(weight, bias, linear.weight)


def fold_weight_standardisation(module: nn.Module) -> nn.Module:
    """Replace each WSConv2d inside a module, in place, by the plain convolution it amounts to; return the module."""
    for name, child in module.named_children():
        if isinstance(child, WSConv2d):
            setattr(module, name, child.folded())
        else:
            fold_weight_standardisation(child)
    return module


def _join(parts: list[nn.Linear]) -> nn.Linear:
    return _linear(torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts]), parts[0].weight)


def _linear(weight: Tensor, bias: Tensor, like: Tensor) -> nn.Linear:
    """Hold an (O, I) weight and an (O,) bias in a new layer of the dtype and device of `like`."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], device=like.device, dtype=like.dtype)
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear


def _plain_norm(tokens: Tensor) -> Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:], eps=NORM_EPS)
