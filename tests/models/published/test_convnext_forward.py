"""ConvNeXt V2-Tiny under timm's names against an independent float64 pass that shares nothing with models/ (Woo et al. 2023)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from crossgeo.models.convnextv2 import ConvNeXtV2

DEPTHS, WIDTHS = (3, 3, 9, 3), (96, 192, 384, 768)


def published(seed: int) -> dict[str, Tensor]:
    """Return the tensors of `convnextv2_tiny` as timm names them, at sizes that training leaves."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    state: dict[str, Tensor] = {}

    def layer(name: str, out: int, *inside: int) -> None:
        state[name + ".weight"] = drawn(out, *inside) / math.sqrt(math.prod(inside)) if inside else 1.0 + 0.2 * drawn(out)
        state[name + ".bias"] = 0.1 * drawn(out)

    layer("stem.0", WIDTHS[0], 3, 4, 4)
    layer("stem.1", WIDTHS[0])
    for stage, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
        if stage:
            layer(f"stages.{stage}.downsample.0", WIDTHS[stage - 1])
            layer(f"stages.{stage}.downsample.1", width, WIDTHS[stage - 1], 2, 2)
        for block in range(depth):
            at = f"stages.{stage}.blocks.{block}."
            layer(at + "conv_dw", width, 1, 7, 7)
            layer(at + "norm", width)
            layer(at + "mlp.fc1", 4 * width, width)
            state[at + "mlp.grn.weight"], state[at + "mlp.grn.bias"] = 0.3 * drawn(4 * width), 0.1 * drawn(4 * width)
            layer(at + "mlp.fc2", width, 4 * width)
    return state


def plain_features(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """Return the last stage's maps of (B, 3, H, W) float64 images."""
    s = {name: tensor.double() for name, tensor in state.items()}

    def channel_norm(x: Tensor, at: str) -> Tensor:
        mean = x.mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(((x - mean) ** 2).mean(1, keepdim=True) + 1e-6)
        return x * s[at + ".weight"][:, None, None] + s[at + ".bias"][:, None, None]

    def mix(x: Tensor, at: str) -> Tensor:
        return torch.einsum("oc,bchw->bohw", s[at + ".weight"], x) + s[at + ".bias"][:, None, None]

    x = channel_norm(F.conv2d(images, s["stem.0.weight"], s["stem.0.bias"], stride=4), "stem.1")
    for stage, depth in enumerate(DEPTHS):
        if stage:
            at = f"stages.{stage}.downsample."
            x = F.conv2d(channel_norm(x, at + "0"), s[at + "1.weight"], s[at + "1.bias"], stride=2)
        for block in range(depth):
            at = f"stages.{stage}.blocks.{block}."
            y = F.conv2d(x, s[at + "conv_dw.weight"], s[at + "conv_dw.bias"], padding=3, groups=x.shape[1])
            y = mix(channel_norm(y, at + "norm"), at + "mlp.fc1")
            y = y * 0.5 * (1.0 + torch.erf(y / math.sqrt(2.0)))
            energy = torch.sqrt((y**2).sum((2, 3), keepdim=True))  # global response normalisation, the paper's eq. 1-3
            y = (
                y
                + s[at + "mlp.grn.weight"][:, None, None] * y * energy / (energy.mean(1, keepdim=True) + 1e-6)
                + (s[at + "mlp.grn.bias"][:, None, None])
            )
            x = x + mix(y, at + "mlp.fc2")
    return x


def test_an_imported_backbone_sees_what_the_published_one_does() -> None:
    state = published(7)
    model = ConvNeXtV2().eval()
    model.load_published({**state, "head.norm.weight": torch.ones(768), "head.fc.weight": torch.ones(2, 768)})
    images = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(8))
    with torch.inference_mode():
        expected = plain_features(state, images.double()).flatten(1)
        found = model(images).double().flatten(1)
    assert F.cosine_similarity(expected[:1], expected[1:]).item() < 0.999  # images are told apart, so agreement means something
    assert (F.cosine_similarity(found, expected) >= 0.999999).all()
    assert ((found - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-4
