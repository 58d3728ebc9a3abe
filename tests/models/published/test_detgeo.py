"""A seeded checkpoint of DetGeo's shapes, answered here and by an independent float64 pass under its published names."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from crossgeo.errors import WeightsError
from crossgeo.kernels.box_decode import decode_best
from crossgeo.models.cost import count_macs
from crossgeo.models.detgeo import PRESETS, DetGeo
from crossgeo.models.published.detgeo import detgeo_from_published, detgeo_name, detgeo_to_published
from crossgeo.training.datasets.cvogl import read_cvogl

LISTING = Path(__file__).parents[1] / "data" / "detgeo.txt"
ANCHORS = [(37, 41), (78, 84), (96, 215), (129, 129), (194, 82), (198, 179), (246, 280), (395, 342), (550, 573)]
DEAD_GMAC = 23.213  # of 80, 81, 93 and 96 to 105 of YOLOv3's layers at 1024 px, which published counts include


@pytest.fixture(scope="module")
def shapes() -> dict[str, tuple[int, ...]]:
    rows = [line.split() for line in LISTING.read_text().splitlines() if not line.startswith("#")]
    return {name: () if shape == "-" else tuple(int(n) for n in shape.split("x")) for name, shape in rows}


@pytest.fixture(scope="module")
def checkpoint(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors at the sizes that training leaves, with running means and variances that matter."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, shape in shapes.items():
        tensor = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            tensor = torch.tensor(41_000)
        elif name.endswith("running_var"):
            tensor = 0.5 + tensor.abs()
        elif len(shape) == 4:
            tensor = tensor * (2.0 / (shape[1] * shape[2] * shape[3])) ** 0.5
        elif name.endswith("weight"):
            tensor = 0.7 + 0.2 * tensor
        else:
            tensor = 0.1 * tensor
        state["module." + name] = tensor
    return state


def test_the_listing_has_584_tensors_and_every_one_is_ours(shapes: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        model = DetGeo()
    assert len(shapes) == 584
    assert sum(parameter.numel() for parameter in model.parameters()) == 73_795_164
    assert {detgeo_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()} == shapes


@pytest.mark.parametrize(("width", "published_gmac"), [(512, 205.97), (256, 203.59)])
def test_the_cost_is_the_published_one_less_the_dead_layers(width: int, published_gmac: float) -> None:
    with torch.device("meta"):
        model = DetGeo().eval()
    macs = count_macs(model, (1, 3, 1024, 1024), (1, 3, 256, width), (1, 2))
    assert macs / 1e9 == pytest.approx(published_gmac - DEAD_GMAC, abs=0.01)


def test_layers_that_lead_nowhere_learn_nothing() -> None:
    model = DetGeo().train()
    model(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64), torch.tensor([[3.0, 4.0], [30.0, 20.0]])).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (".unused." in name or "neck_32.sixth" in name), name


def plain_answers(checkpoint: dict[str, Tensor], windows: Tensor, photos: Tensor, clicks: Tensor) -> tuple[Tensor, Tensor]:
    """Answer in float64 from the facts alone: raw (B, 9, 5, g, g) and (B, 4) xyxy px, of windows and photos in 0..255, clicks in pixels."""
    s = {name.removeprefix("module."): tensor.double() for name, tensor in checkpoint.items()}
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def norm(x: Tensor, at: str) -> Tensor:
        gamma, beta, mu, var = (s[f"{at}.{key}"][:, None, None] for key in ("weight", "bias", "running_mean", "running_var"))
        return (x - mu) / torch.sqrt(var + 1e-5) * gamma + beta

    def conv_norm(x: Tensor, at: str) -> Tensor:
        return norm(F.conv2d(x, s[at + ".conv.weight"]), at + ".bn").clamp(min=0)

    height, width = photos.shape[-2:]
    row, column = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    away = torch.stack([torch.hypot(row + 0.5 - y, column + 0.5 - x) for x, y in clicks.double()])
    near = (1.0 - away / (height**2 + width**2) ** 0.5) ** 2
    x = conv_norm(torch.cat([(photos.double() / 255 - mean) / std, near[:, None]], 1), "combine_clickptns_conv")

    at = "query_resnet.base_model."
    x = norm(F.conv2d(x, s[at + "conv1.weight"], stride=2, padding=3), at + "bn1").clamp(min=0)
    x = F.max_pool2d(x, 3, 2, 1)
    for layer in range(1, 5):
        for block in range(2):
            here, stride = f"{at}layer{layer}.{block}.", 2 if layer > 1 and block == 0 else 1
            y = norm(F.conv2d(x, s[here + "conv1.weight"], stride=stride, padding=1), here + "bn1").clamp(min=0)
            y = norm(F.conv2d(y, s[here + "conv2.weight"], padding=1), here + "bn2")
            if here + "downsample.0.weight" in s:
                x = norm(F.conv2d(x, s[here + "downsample.0.weight"], stride=stride), here + "downsample.1")
            x = (x + y).clamp(min=0)
    asked = conv_norm(x, "query_mapping_visu").mean((2, 3))

    def layer_of(x: Tensor, n: int, stride: int = 1) -> Tensor:
        weight = s[f"reference_darknet.module_list.{n}.conv_{n}.weight"]
        y = norm(F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2), f"reference_darknet.module_list.{n}.batch_norm_{n}")
        return torch.where(y > 0, y, 0.1 * y)

    x, n, kept = layer_of((windows.double() / 255 - mean) / std, 0), 1, {}
    for blocks in (1, 2, 8, 8, 4):
        x, n = layer_of(x, n, 2), n + 1
        for _ in range(blocks):
            x, n = x + layer_of(layer_of(x, n), n + 1), n + 3
        kept[n - 1] = x
    for n in range(75, 80):
        x = layer_of(x, n)
    x = layer_of(x, 84).repeat_interleave(2, 2).repeat_interleave(2, 3)
    x = torch.cat([x, kept[61]], 1)
    for n in range(87, 93):
        x = layer_of(x, n)
    cells = conv_norm(x, "reference_mapping_visu")

    cells = cells / cells.norm(dim=1, keepdim=True)
    likeness = torch.einsum("bcij,bc->bij", cells, asked / asked.norm(dim=1, keepdim=True))
    scaled = torch.stack([(one - one.min()) / (one.max() - one.min()) for one in likeness])
    raw = F.conv2d(conv_norm(scaled[:, None] * cells, "fcn_out.0"), s["fcn_out.1.weight"], s["fcn_out.1.bias"])
    raw = raw.reshape(len(raw), 9, 5, *raw.shape[-2:])
    boxes = []
    for one in raw:
        anchor, i, j = (int(k) for k in torch.unravel_index(one[:, 4].argmax(), one[:, 4].shape))
        tx, ty, tw, th = one[anchor, :4, i, j].tolist()
        cx, cy = (16 * (k + 1 / (1 + 2.718281828459045**-t)) for k, t in ((j, tx), (i, ty)))
        w, h = (size * 2.718281828459045**t for size, t in zip(ANCHORS[anchor], (tw, th), strict=True))
        boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
    return raw, torch.tensor(boxes, dtype=torch.float64)


@pytest.mark.parametrize("width", [512, 256])
def test_boxes_are_those_of_the_published_network(checkpoint: dict[str, Tensor], width: int) -> None:
    model = DetGeo().eval()
    model.load_state_dict(detgeo_from_published(checkpoint))
    generator = torch.Generator().manual_seed(2)
    patches = torch.randint(0, 256, (4, 3, 16, 16), generator=generator, dtype=torch.uint8)  # coarse, so that images differ as a whole
    windows, photos = (F.interpolate(part, hw) for part, hw in ((patches[:2], (256, 256)), (patches[2:], (256, width))))
    clicks = torch.tensor([[30.5, 100.5], [width - 8.5, 200.5]])
    with torch.inference_mode():
        raw, boxes = plain_answers(checkpoint, windows, photos, clicks)
        given = model(windows, photos, clicks)
        found, _ = decode_best(given, model.anchors, model.config.stride)
        other_click = model(windows, photos, clicks.flip(0))
    assert (given.double() - raw).abs().max() < 1e-4
    assert (found.double() - boxes).abs().max() < 1e-3
    assert (other_click - given).abs().max() > 1e-3  # the click matters, so agreement means something
    assert (raw[0] - raw[1]).abs().max() > 1e-2


def test_one_window_serves_several_photos(checkpoint: dict[str, Tensor]) -> None:
    model = DetGeo().eval()
    model.load_state_dict(detgeo_from_published(checkpoint))
    windows, photos = torch.rand(1, 3, 128, 128) * 255, torch.rand(3, 3, 64, 64) * 255
    clicks = torch.tensor([[3.0, 4.0], [30.0, 20.0], [60.0, 60.0]])
    with torch.inference_mode():
        together = model(windows, photos, clicks)
        alone = torch.cat([model(windows, photos[k : k + 1], clicks[k : k + 1]) for k in range(3)])
    assert torch.allclose(together, alone, atol=1e-3)


@pytest.mark.parametrize("preset", ["detgeo-cvcam", "detgeo-mhsam"])
def test_the_portability_variants_answer_and_do_not_export(preset: str) -> None:
    model = DetGeo(PRESETS[preset]).eval()
    with torch.inference_mode():
        raw = model(torch.rand(1, 3, 128, 128), torch.rand(1, 3, 64, 64), torch.tensor([[3.0, 4.0]]))
    assert raw.shape == (1, 9, 5, 8, 8)
    with pytest.raises(WeightsError, match="only weights of the plain network export"):
        detgeo_to_published(dict(model.state_dict()))


def test_a_checkpoint_comes_back_bit_for_bit(checkpoint: dict[str, Tensor]) -> None:
    back = detgeo_to_published(detgeo_from_published(checkpoint))
    assert back.keys() == checkpoint.keys()
    assert all(torch.equal(back[name], checkpoint[name]) for name in checkpoint)


def test_what_is_missing_or_misshapen_is_named(checkpoint: dict[str, Tensor]) -> None:
    damaged = dict(checkpoint)
    del damaged["module.fcn_out.1.bias"]
    damaged["module.combine_clickptns_conv.conv.weight"] = torch.zeros(3, 3, 1, 1)
    with pytest.raises(WeightsError) as caught:
        detgeo_from_published(damaged)
    assert "missing fcn_out.1.bias" in str(caught.value)
    assert "combine_clickptns_conv.conv.weight is (3, 3, 1, 1), not (3, 4, 1, 1)" in str(caught.value)


def test_the_click_map_is_the_published_one_of_the_pixel_that_a_list_names(tmp_path: Path) -> None:
    """m[i, j] = (1 - dist((i, j), click) / sqrt(H^2 + W^2))^2, from pixel to pixel."""
    column, row = 120, 80
    folder = tmp_path / "CVOGL_SVI"
    folder.mkdir()
    listed = ("1", "1.jpg", "1_2_300_32615.jpg", (240, 160), (column, row), [0, 0, 9, 9], [0] * 8, "building")
    for split in ("train", "val", "test"):
        torch.save([listed] if split == "test" else [], folder / f"CVOGL_SVI_{split}.pth")
    (pair,) = read_cvogl(tmp_path, "street")
    with torch.device("meta"):
        model = DetGeo()
    model.mean = torch.zeros(1)
    found = model.pointed(torch.tensor([pair.click_px]), torch.zeros(1, 3, 256, 512))[0, 0]
    i, j = torch.meshgrid(torch.arange(256.0, dtype=torch.float64), torch.arange(512.0, dtype=torch.float64), indexing="ij")
    expected = (1.0 - torch.sqrt((i - row) ** 2 + (j - column) ** 2) / math.sqrt(256**2 + 512**2)) ** 2
    assert found[row, column] == 1.0
    assert (found.double() - expected).abs().max() < 1e-6
