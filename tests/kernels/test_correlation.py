"""kernels/correlation.py against its formula, written out in float64."""

import numpy as np
import pytest
import torch
from crossgeo.kernels.correlation import masked_correlation


def by_formula(template: np.ndarray, mask: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """Correlate (C, h, w) under (h, w) with every place of (C, H, W), one at a time."""
    channels, height, width = template.shape
    out = np.zeros((scene.shape[1] - height + 1, scene.shape[2] - width + 1))
    for row, column in np.ndindex(*out.shape):
        patch = scene[:, row : row + height, column : column + width]
        a, b = [], []
        for c in range(channels):
            a.append((template[c] - template[c][mask > 0].mean())[mask > 0])
            b.append((patch[c] - patch[c][mask > 0].mean())[mask > 0])
        left, right = np.concatenate(a), np.concatenate(b)
        out[row, column] = left @ right / np.sqrt((left @ left) * (right @ right))
    return out


@pytest.mark.parametrize(("size", "scene"), [((3, 5), (9, 7)), ((4, 4), (4, 4)), ((1, 6), (5, 11))])
def test_correlation_is_its_formula_at_odd_sizes(size: tuple[int, int], scene: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    templates, scenes = rng.normal(size=(2, 3, *size)), rng.normal(size=(2, 3, *scene))
    masks = (rng.random((2, *size)) > 0.25).astype(float)
    masks[:, 0, 0] = masks[:, -1, -1] = 1.0
    found = masked_correlation(*(torch.from_numpy(a) for a in (templates, masks, scenes))).numpy()
    wanted = np.stack([by_formula(t, m, s) for t, m, s in zip(templates, masks, scenes, strict=True)])
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_piece_of_the_scene_is_found_where_it_was_cut_in_other_light() -> None:
    torch.manual_seed(0)
    scene = torch.randn(1, 5, 12, 13)
    piece = scene[:, :, 3:9, 4:11] * 3.0 + 2.0
    surface = masked_correlation(piece, torch.ones(1, 6, 7), scene)[0]
    assert divmod(int(surface.argmax()), surface.shape[1]) == (3, 4)
    assert surface.max().item() == pytest.approx(1.0, abs=1e-5)


def test_what_is_masked_does_not_count() -> None:
    torch.manual_seed(1)
    scene, mask = torch.randn(1, 4, 10, 10), torch.ones(1, 6, 6)
    mask[:, :, 4:] = 0.0
    piece = scene[:, :, 2:8, 1:7].clone()
    piece[:, :, :, 4:] = 99.0
    surface = masked_correlation(piece, mask, scene)[0]
    assert divmod(int(surface.argmax()), surface.shape[1]) == (2, 1)


def test_a_template_of_which_nothing_counts_fits_nowhere() -> None:
    surface = masked_correlation(torch.randn(1, 2, 3, 3), torch.zeros(1, 3, 3), torch.randn(1, 2, 6, 6))
    assert torch.equal(surface, torch.zeros(1, 4, 4))


def test_shapes_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not go together"):
        masked_correlation(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3), torch.zeros(1, 4, 6, 6))
