"""A seeded checkpoint of L2LTR's shapes, described here and by an independent float64 forward pass that shares nothing with models/."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from crossgeo.models.egotr import PRESETS, EgoTRBranch
from crossgeo.models.fold import fold_branch
from crossgeo.models.published.l2ltr import egotr_from_l2ltr

LISTING = Path(__file__).parents[1] / "data" / "l2ltr_branch.txt"
UNITS = (3, 4, 9)
LAYERS = 12
HEADS = 12
STEM = "transformer.embeddings.hybrid_model."


def standardised(weight: Tensor, eps: float) -> Tensor:
    mean = weight.mean((1, 2, 3), keepdim=True)
    variance = ((weight - mean) ** 2).mean((1, 2, 3), keepdim=True)
    return (weight - mean) / torch.sqrt(variance + eps)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-6) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + eps) * weight + bias


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    parts = x.reshape(len(x), groups, -1)
    mean = parts.mean(-1, keepdim=True)
    parts = (parts - mean) / torch.sqrt(((parts - mean) ** 2).mean(-1, keepdim=True) + eps)
    return parts.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]


def descriptor(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """Describe (B, 3, H, W) normalised float64 images with one branch of an L2LTR checkpoint: (B, 768)."""
    s = {name: tensor.double() for name, tensor in state.items()}

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = standardised(s[STEM + name + ".weight"], 1e-5)
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(x: Tensor, name: str, groups: int = 32, eps: float = 1e-6) -> Tensor:
        return group_norm(x, groups, s[STEM + name + ".weight"], s[STEM + name + ".bias"], eps)

    x = norm(conv(images, "root.conv", 2), "root.gn").clamp(min=0)
    x = F.max_pool2d(x, 3, 2, 1)
    for block, units in enumerate(UNITS, 1):
        for unit in range(1, units + 1):
            at = f"body.block{block}.unit{unit}."
            stride = 2 if block > 1 and unit == 1 else 1
            rest = x
            if unit == 1:
                rest = conv(x, at + "downsample", stride)
                rest = norm(rest, at + "gn_proj", rest.shape[1], 1e-5)
            y = norm(conv(x, at + "conv1"), at + "gn1").clamp(min=0)
            y = norm(conv(y, at + "conv2", stride), at + "gn2").clamp(min=0)
            x = (rest + norm(conv(y, at + "conv3"), at + "gn3")).clamp(min=0)

    embedding = "transformer.embeddings."
    x = F.conv2d(x, s[embedding + "patch_embeddings.weight"], s[embedding + "patch_embeddings.bias"])
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([s[embedding + "cls_token"].expand(len(x), -1, -1), x], 1) + s[embedding + "position_embeddings"]
    before = x
    for layer in range(LAYERS):

        def linear(x: Tensor, name: str, layer: int = layer) -> Tensor:
            at = f"transformer.encoder.layer.{layer}.{name}"
            return x @ s[at + ".weight"].T + s[at + ".bias"]

        def normed(x: Tensor, name: str, layer: int = layer) -> Tensor:
            at = f"transformer.encoder.layer.{layer}.{name}"
            return layer_norm(x, s[at + ".weight"], s[at + ".bias"])

        def heads(x: Tensor) -> Tensor:
            return x.reshape(len(x), x.shape[1], HEADS, -1).permute(0, 2, 1, 3)

        own, other = normed(x, "attention_norm_1"), normed(before, "attention_norm_2")
        q, k, v = heads(linear(own, "attn.query")), heads(linear(other, "attn.key")), heads(linear(own, "attn.value"))
        mixed = torch.softmax(q @ k.transpose(-1, -2) / 8.0, -1) @ v
        before = x
        x = x + linear(mixed.permute(0, 2, 1, 3).flatten(2), "attn.out")
        hidden = linear(normed(x, "ffn_norm"), "ffn.fc1")
        x = x + linear(hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5)), "ffn.fc2")
    last = "transformer.encoder.encoder_norm."
    token = layer_norm(x, s[last + "weight"], s[last + "bias"])[:, 0]
    return token / token.norm(dim=1, keepdim=True)


def random_branch(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Return float32 tensors of these shapes at the sizes that training leaves: signals neither die out nor explode."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        tensor = torch.randn(shape, generator=generator)
        if re.search(r"(norm\w*|gn\w*)\.weight$", name):
            tensor = 1.0 + 0.2 * tensor
        elif name.endswith("bias"):
            tensor = 0.1 * tensor
        elif len(shape) == 2:
            tensor = tensor / shape[1] ** 0.5
        elif len(shape) == 4:
            tensor = tensor / (shape[1] * shape[2] * shape[3]) ** 0.5
        state[name] = tensor
    return state


@pytest.fixture(scope="module")
def checkpoint() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    rows = [line.split() for line in LISTING.read_text().splitlines() if not line.startswith("#")]
    shapes = {name: tuple(int(n) for n in shape.split("x")) for name, shape in rows}
    return random_branch(shapes, 1), random_branch(shapes, 2)


@pytest.mark.parametrize(
    ("preset", "which", "hw"),
    [("egotr-b", "ground", (128, 512)), ("egotr-b", "aerial", (256, 256)), ("polar-egotr-b", "aerial", (128, 512))],
)
def test_an_imported_branch_describes_as_the_published_network_does(
    checkpoint: tuple[dict[str, Tensor], dict[str, Tensor]], preset: str, which: str, hw: tuple[int, int]
) -> None:
    config = PRESETS[preset]
    branch = EgoTRBranch(config, config.ground_hw if which == "ground" else config.aerial_hw).eval()
    joined = egotr_from_l2ltr(*checkpoint, config)
    branch.load_state_dict({name.removeprefix(which + "."): tensor for name, tensor in joined.items() if name.startswith(which)})
    images = torch.randn(2, 3, *hw, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = descriptor(checkpoint[0 if which == "ground" else 1], images.double())
        assert expected[0] @ expected[1] < 0.999  # images are told apart, so agreement means something
        assert ((branch(images).double() * expected).sum(1) >= 0.999999).all()
        assert ((fold_branch(branch)(images).double() * expected).sum(1) >= 0.999999).all()
