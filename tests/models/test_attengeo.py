"""models/attengeo.py: the paper's sizes and costs, two halves that equal the whole, cached features, the baseline's switches."""

import dataclasses
import json

import pytest
import torch
from torch import Tensor, nn

from crossgeo.kernels.box_decode import decode_best
from crossgeo.models.attengeo import PRESETS, AttenGeo, AttenGeoConfig
from crossgeo.models.attention import MultiHeadAttention
from crossgeo.models.cost import count_macs
from crossgeo.models.object_network import ReferenceFeatures

TINY = dataclasses.replace(
    PRESETS["attengeo"], name="tiny", depths=(1, 1), widths=(8, 12), stride=8, window_px=56, photo_px=40,
    channels=16, heads=2, hidden=24, iterations=2, spatial_hidden=8,
)  # fmt: skip
LITE = dataclasses.replace(PRESETS["attengeo-s"], name="lite", channels=16, heads=2, hidden=24, spatial_hidden=8, window_px=96, photo_px=64)


def _make(config: AttenGeoConfig, seed: int = 0) -> AttenGeo:
    torch.manual_seed(seed)
    model = AttenGeo(config).eval()
    with torch.no_grad():
        for layer in model.modules():  # torch's own start lets signals die out over many layers without norms
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
        for parameter in model.parameters():  # what starts at zero must count here
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def _inputs(config: AttenGeoConfig, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    windows = torch.randint(0, 256, (batch, 3, config.window_px, config.window_px), dtype=torch.uint8, generator=generator)
    photos = torch.randint(0, 256, (batch, 3, config.photo_px, config.photo_px), dtype=torch.uint8, generator=generator)
    return windows, photos, torch.rand(batch, 2, generator=generator) * config.photo_px


def _macs_without_attention(model: AttenGeo, photo_hw: tuple[int, int]) -> int:
    """Count as layer hooks do (outputs x weights of an output), which see no attention: neither its projections nor its products."""
    hidden = {id(part) for module in model.modules() if isinstance(module, MultiHeadAttention) for part in module.modules()}
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output.numel() * inputs[0].shape[1] // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
        elif isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features

    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and id(layer) not in hidden:
            layer.register_forward_hook(count)
    side = model.config.window_px
    with torch.device("meta"), torch.no_grad():
        model(torch.empty(1, 3, side, side), torch.empty(1, 3, *photo_hw), torch.empty(1, 2))
    return total


def test_the_paper_counts_what_layer_hooks_see() -> None:
    """42.2 M and 116.4 / 110.5 GMAC (deconvolutions by their output) are without attention; with it 44.6 M and 118.4 / 112.0."""
    for photo_hw, paper_gmac, true_gmac in [((256, 512), 116.43, 118.36), ((256, 256), 110.46, 112.01)]:
        with torch.device("meta"):
            model = AttenGeo(PRESETS["attengeo"])
        assert _macs_without_attention(model, photo_hw) / 1e9 == pytest.approx(paper_gmac, rel=0.002)
        assert count_macs(model, (1, 3, 1024, 1024), (1, 3, *photo_hw), (1, 2)) / 1e9 == pytest.approx(true_gmac, rel=0.001)
    attention = sum(p.numel() for module in model.modules() if isinstance(module, MultiHeadAttention) for p in module.parameters())
    everything = sum(p.numel() for p in model.parameters())
    assert everything / 1e6 == pytest.approx(44.6, rel=0.002)
    assert (everything - attention) / 1e6 == pytest.approx(42.15, rel=0.002)


def test_the_papers_ablations_leave_out_one_part_after_the_other() -> None:
    with torch.device("meta"):
        whole, cvcam, baseline = (AttenGeo(PRESETS[name]) for name in ("attengeo", "attengeo-cvcam", "attengeo-baseline"))
    assert whole.mhsam is not None and whole.cvcam is not None
    for less, more, part in ((cvcam, whole, whole.mhsam), (baseline, cvcam, cvcam.cvcam)):
        sizes = [sum(p.numel() for p in module.parameters()) for module in (less, more, part)]
        assert sizes[0] == sizes[1] - sizes[2]
    backbone, click, maps, head = 27_864_960, 96 * 16, 2 * (768 + 1) * 256, (256 + 1) * 45
    assert sum(p.numel() for p in baseline.parameters()) == backbone + click + maps + head


def test_four_fifths_of_the_paper_model_are_the_references_half() -> None:
    with torch.device("meta"):
        model = AttenGeo(PRESETS["attengeo"])
    assert count_macs(model.backbone, (1, 3, 1024, 1024)) / 1e9 == pytest.approx(93.1, rel=0.001)
    assert count_macs(model.encode_reference, (1, 3, 1024, 1024)) / 1e9 == pytest.approx(93.3, rel=0.001)
    kept = model.encode_reference(torch.empty(1, 3, 1024, 1024, device="meta")).half().grid
    assert kept.shape == (1, 256, 32, 32)
    assert kept.nbytes < 0.8e6


def test_the_paper_model_answers_with_9216_boxes() -> None:
    with torch.device("meta"):
        model = AttenGeo(PRESETS["attengeo"])
        raw = model(torch.empty(1, 3, 1024, 1024), torch.empty(1, 3, 256, 512), torch.empty(1, 2))
    assert raw.shape == (1, 9, 5, 32, 32)
    assert raw[0, :, 0].numel() == 9_216


def test_the_small_model_stays_small() -> None:
    with torch.device("meta"):
        model = AttenGeo(PRESETS["attengeo-s"])
    assert sum(p.numel() for p in model.parameters()) < 5e6
    side, photo = model.config.window_px, model.config.photo_px
    assert count_macs(model, (1, 3, side, side), (1, 3, photo, photo), (1, 2)) < 2.5e9


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_the_view_of_a_preset_has_its_sizes(config: AttenGeoConfig) -> None:
    view = config.view
    assert (view.photo_px, view.window_px, view.gsd_m) == (config.photo_px, config.window_px, config.window_gsd_m)
    assert (view.mean, view.std) == (config.mean, config.std)


@pytest.mark.parametrize("config", [TINY, LITE], ids=["convnextv2", "efficientnet-lite0"])
def test_the_halves_equal_the_whole(config: AttenGeoConfig) -> None:
    model = _make(config)
    windows, photos, clicks = _inputs(config)
    with torch.no_grad():
        features = model.encode_reference(windows)
        cells = config.window_px // config.stride
        assert features.grid.shape == (2, 16, cells, cells)
        whole = model(windows, photos, clicks)
        assert whole.shape == (2, 9, 5, cells, cells)
        torch.testing.assert_close(model.query(features, photos, clicks), whole, atol=0, rtol=0)


def test_cached_features_serve_every_click_with_the_same_answer() -> None:
    model = _make(LITE)
    windows, photos, clicks = _inputs(LITE)
    with torch.no_grad():
        features = model.encode_reference(windows)
        first = model.query(features, photos, clicks)
        other = model.query(features, photos, clicks.flip(0) + 7.0)
        assert (other - first).abs().max() > 1e-4
        torch.testing.assert_close(model.query(features, photos, clicks), first, atol=0, rtol=0)
        halved = model.query(features.half(), photos, clicks)
        torch.testing.assert_close(halved, first, atol=5e-3, rtol=5e-3)
        boxes = [decode_best(raw, model.anchors, LITE.stride)[0] for raw in (halved, first)]
        torch.testing.assert_close(boxes[0], boxes[1], atol=1.0, rtol=0)


def test_one_window_serves_many_photos_and_one_photo_many_windows() -> None:
    model = _make(TINY)
    windows, photos, clicks = _inputs(TINY, 3)
    with torch.no_grad():
        features = model.encode_reference(windows)
        many_photos = model.query(features[1:2], photos, clicks)
        many_windows = model.query(features, photos[:1], clicks[:1])
        for i in range(3):
            torch.testing.assert_close(many_photos[i], model.query(features[1:2], photos[i : i + 1], clicks[i : i + 1])[0])
            torch.testing.assert_close(many_windows[i], model.query(features[i : i + 1], photos[:1], clicks[:1])[0])
    assert len(features) == 3


@pytest.mark.parametrize(("window_hw", "photo_hw"), [((40, 72), (64, 24)), ((56, 56), (33, 47))])
def test_windows_and_photos_may_have_other_shapes(window_hw: tuple[int, int], photo_hw: tuple[int, int]) -> None:
    raw = _make(TINY)(torch.zeros(1, 3, *window_hw), torch.zeros(1, 3, *photo_hw), torch.tensor([[5.0, 9.0]]))
    assert raw.shape == (1, 9, 5, window_hw[0] // 8, window_hw[1] // 8)


def test_a_window_that_is_no_whole_number_of_cells_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(56, 60\) px does not divide into cells of 8 px"):
        _make(TINY).encode_reference(torch.zeros(1, 3, 56, 60))


@pytest.mark.parametrize("config", [TINY, LITE], ids=["convnextv2", "efficientnet-lite0"])
def test_the_click_changes_the_answer_only_once_its_channel_has_learnt(config: AttenGeoConfig) -> None:
    model = _make(config)
    windows, photos, clicks = _inputs(config)
    click = dict(model.named_parameters())["backbone.stem.0.click" if config is TINY else "backbone.stem.click"]
    assert AttenGeo(config).state_dict()["backbone.stem.0.click" if config is TINY else "backbone.stem.click"].abs().max() == 0.0
    with torch.no_grad():
        click.zero_()
    features = model.encode_reference(windows)
    with torch.no_grad():
        torch.testing.assert_close(model.query(features, photos, clicks), model.query(features, photos, clicks / 2), atol=0, rtol=0)
    model.query(features, photos, clicks).square().sum().backward()
    assert click.grad is not None
    assert click.grad.abs().max() > 0
    with torch.no_grad():
        click.add_(torch.randn_like(click))
        assert (model.query(features, photos, clicks) - model.query(features, photos, clicks / 2)).abs().max() > 1e-5
        torch.testing.assert_close(model.encode_reference(windows).grid, features.grid)  # the window knows of no click


def test_the_street_model_sees_the_line_of_sight_on_its_windows() -> None:
    model = _make(dataclasses.replace(TINY, look_deg=64.0, ahead_m=30.0))
    windows = torch.randint(0, 256, (1, 3, TINY.window_px, TINY.window_px), dtype=torch.uint8)
    lines = torch.tensor([[4.0, 4.0, 40.0, 4.0], [4.0, 40.0, 40.0, 40.0]])
    with torch.no_grad():
        for name, parameter in model.backbone.named_parameters():
            if name.endswith("click"):
                parameter.fill_(0.5)
        first, second = (model.encode_reference(windows, line[None]).grid for line in lines)
    assert not torch.allclose(first, second)
    with pytest.raises(ValueError, match="with a line of sight"):
        model.encode_reference(windows)
    with pytest.raises(ValueError, match="without a line of sight"):
        _make(TINY).encode_reference(windows, lines[:1])


def test_the_backbone_is_one_for_both_views() -> None:
    model = _make(TINY)
    windows, photos, clicks = _inputs(TINY)
    for half in (lambda: model.encode_reference(windows).grid, lambda: model.encode_query(photos, clicks)):
        model.zero_grad()
        half().sum().backward()
        assert all(p.grad is not None for name, p in model.backbone.named_parameters() if not name.endswith("click"))


def test_the_switches_leave_the_papers_baseline() -> None:
    windows, photos, clicks = _inputs(TINY)
    model = _make(dataclasses.replace(TINY, cvcam=False, mhsam=False))
    assert not any("cvcam" in name or "mhsam" in name for name in model.state_dict())
    with torch.no_grad():
        features, query = model.encode_reference(windows), model.encode_query(photos, clicks)
        summed = features.grid + query.mean(dim=(2, 3), keepdim=True)
        expected = model.head(summed).view(2, 9, 5, 7, 7)
        torch.testing.assert_close(model.query(features, photos, clicks), expected)


@pytest.mark.parametrize(("cvcam", "mhsam"), [(True, False), (False, True), (True, True), (False, False)])
def test_every_switch_position_trains(cvcam: bool, mhsam: bool) -> None:
    model = _make(dataclasses.replace(LITE, cvcam=cvcam, mhsam=mhsam)).train()
    with torch.autocast("cpu", torch.bfloat16):
        raw = model(*_inputs(LITE))
    assert raw.dtype == torch.float32
    raw.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_bf16_changes_the_answer_little() -> None:
    model = _make(LITE)
    with torch.no_grad():
        exact = model(*_inputs(LITE))
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(*_inputs(LITE))
    assert torch.cosine_similarity(exact.flatten(), rough.flatten(), dim=0) > 0.999


def test_pixels_may_be_uint8_or_float_and_the_mean_colour_counts_as_nothing() -> None:
    model = _make(TINY)
    windows, _, _ = _inputs(TINY)
    with torch.no_grad():
        torch.testing.assert_close(model.encode_reference(windows).grid, model.encode_reference(windows.float()).grid)
        mean = torch.tensor(TINY.mean).view(1, 3, 1, 1).expand(1, 3, 56, 56) * 255.0
        nothing = model.reference_map(model.backbone(torch.zeros(1, 3, 56, 56)))
        torch.testing.assert_close(model.encode_reference(mean).grid, nothing, atol=1e-4, rtol=0)


def test_an_untrained_model_claims_little() -> None:
    torch.manual_seed(0)
    _, confidence = decode_best(AttenGeo(TINY)(*_inputs(TINY)), TINY.anchors, TINY.stride)
    assert confidence.max() < 0.02


def test_freezing_leaves_the_click_channel_to_learn() -> None:
    model = _make(LITE)
    model.freeze_backbone(3)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert "backbone.stem.weight" in frozen
    assert "backbone.stem.click" not in frozen
    assert any(name.startswith("backbone.blocks.1.") for name in frozen)
    assert not any(name.startswith(("backbone.blocks.2.", "cvcam", "head")) for name in frozen)


@pytest.mark.parametrize("config", [TINY, LITE], ids=["convnextv2", "efficientnet-lite0"])
def test_both_halves_export_without_data_dependent_control_flow(config: AttenGeoConfig) -> None:
    class ReferenceHalf(nn.Module):
        def __init__(self, model: AttenGeo) -> None:
            super().__init__()
            self.model = model

        def forward(self, windows: Tensor) -> Tensor:
            return self.model.encode_reference(windows).grid

    class QueryHalf(ReferenceHalf):
        def forward(self, grid: Tensor, photos: Tensor, clicks: Tensor) -> Tensor:
            return self.model.query(ReferenceFeatures(grid), photos, clicks)

    model = _make(config).requires_grad_(False)
    windows, photos, clicks = _inputs(config, 1)
    grid = torch.export.export(ReferenceHalf(model), (windows,)).module()(windows)
    torch.testing.assert_close(grid, model.encode_reference(windows).grid)
    raw = torch.export.export(QueryHalf(model), (grid, photos, clicks)).module()(grid, photos, clicks)
    torch.testing.assert_close(raw, model(windows, photos, clicks))


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_survives_its_card(name: str) -> None:
    config = PRESETS[name]
    assert config.name == name
    assert AttenGeoConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert len(config.anchors) == 9


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="grid of at least 5 cells of 8 px"):
        dataclasses.replace(TINY, window_px=32)
    with pytest.raises(ValueError, match="asks for stride 16, its backbone gives 8"):
        AttenGeo(dataclasses.replace(TINY, stride=16, window_px=96))
    with pytest.raises(ValueError, match="tiny has no anchors"):
        dataclasses.replace(TINY, anchors=())
