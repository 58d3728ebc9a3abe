"""kernels/correlation.py against its formula, written out in float64."""

import numpy as np
import pytest
import torch

from crossgeo.kernels.correlation import masked_correlation


def by_formula(template: np.ndarray, mask: np.ndarray, scene: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlate (C, h, w) under (h, w) with every place of (C, H, W) under (H, W), one at a time."""
    channels, height, width = template.shape
    out = np.zeros((scene.shape[1] - height + 1, scene.shape[2] - width + 1))
    overlap = np.zeros_like(out)
    for row, column in np.ndindex(*out.shape):
        patch = scene[:, row : row + height, column : column + width]
        both = (mask > 0) & (valid[row : row + height, column : column + width] > 0)
        overlap[row, column] = both.sum()
        if both.sum() < 2:
            continue
        left = np.concatenate([template[c][both] - template[c][both].mean() for c in range(channels)])
        right = np.concatenate([patch[c][both] - patch[c][both].mean() for c in range(channels)])
        out[row, column] = left @ right / np.sqrt((left @ left) * (right @ right))
    return out, overlap


@pytest.mark.parametrize(("size", "scene"), [((3, 5), (9, 7)), ((4, 4), (4, 4)), ((1, 6), (5, 11))])
def test_correlation_is_its_formula_at_odd_sizes(size: tuple[int, int], scene: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    templates, grounds = rng.normal(size=(2, 3, *size)) + 5.0, rng.normal(size=(2, 3, *scene)) + 5.0
    masks, valid = (rng.random((2, *size)) > 0.25).astype(float), (rng.random((2, *scene)) > 0.2).astype(float)
    found, overlap = masked_correlation(*(torch.from_numpy(a) for a in (templates, masks, grounds, valid)))
    for number in range(2):
        wanted = [by_formula(t, m, grounds[number], valid[number]) for t, m in zip(templates, masks, strict=True)]
        np.testing.assert_allclose(found[number].numpy(), np.stack([w[0] for w in wanted]), atol=1e-9)
        np.testing.assert_array_equal(overlap[number].numpy(), np.stack([w[1] for w in wanted]))


@pytest.mark.parametrize(("size", "scene"), [((3, 5), (9, 7)), ((4, 4), (4, 4)), ((10, 10), (16, 16))])
def test_scenes_that_count_everywhere_give_what_their_masks_of_ones_give(size: tuple[int, int], scene: tuple[int, int]) -> None:
    torch.manual_seed(5)
    templates, grounds = torch.randn(4, 3, *size) + 50.0, torch.randn(2, 3, *scene) + 50.0
    masks = (torch.rand(4, *size) > 0.3).float()
    masks[1], masks[2] = 1.0, 0.0
    masks[3], masks[3, 0, 0] = 0.0, 1.0  # one cell has no spread
    templates[0, :, 0] = 7e3 * (1.0 - masks[0, 0])  # what is masked may hold anything
    found, overlap = masked_correlation(templates, masks, grounds, None)
    wanted, wanted_overlap = masked_correlation(templates, masks, grounds, torch.ones(2, *scene))
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=0.0)
    torch.testing.assert_close(overlap, wanted_overlap)
    assert not found[:, 2:].any()


def test_a_piece_of_the_scene_is_found_where_it_was_cut_in_other_light() -> None:
    torch.manual_seed(0)
    scene = torch.randn(5, 12, 13)
    piece = scene[None, :, 3:9, 4:11] * 3.0 + 2.0
    surface = masked_correlation(piece, torch.ones(1, 6, 7), scene[None], torch.ones(1, 12, 13))[0][0, 0]
    assert divmod(int(surface.argmax()), surface.shape[1]) == (3, 4)
    assert surface.max().item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("side", ["template", "scene"])
def test_what_is_masked_does_not_count(side: str) -> None:
    torch.manual_seed(1)
    scene, mask, valid = torch.randn(4, 10, 10), torch.ones(1, 6, 6), torch.ones(10, 10)
    piece = scene[None, :, 2:8, 1:7].clone()
    if side == "template":
        mask[:, :, 4:] = 0.0
        piece[:, :, :, 4:] = 99.0
    else:
        valid[:, 5:] = 0.0
        scene[:, :, 5:] = 99.0
    surface = masked_correlation(piece, mask, scene[None], valid[None])[0][0, 0]
    assert surface[2, 1].item() == pytest.approx(1.0, abs=1e-5)


def test_a_template_of_which_nothing_counts_fits_nowhere() -> None:
    surface, overlap = masked_correlation(torch.randn(1, 2, 3, 3), torch.zeros(1, 3, 3), torch.randn(1, 2, 6, 6), torch.ones(1, 6, 6))
    assert not surface.any()
    assert not overlap.any()


def test_shapes_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not go together"):
        masked_correlation(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3), torch.zeros(1, 4, 6, 6), torch.ones(1, 6, 6))


def test_gradients_are_finite_where_nothing_overlaps_and_right_where_it_does() -> None:
    torch.manual_seed(2)
    template, scenes = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True), torch.randn(2, 2, 5, 5, dtype=torch.float64)
    valid = torch.ones(2, 5, 5, dtype=torch.float64)
    valid[:, :, 3:] = 0.0
    valid[1] = 0.0
    assert torch.autograd.gradcheck(lambda t: masked_correlation(t, torch.ones(1, 3, 3, dtype=t.dtype), scenes, valid)[0], (template,))
