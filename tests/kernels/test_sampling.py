"""kernels/sampling.py: the definitions pixel by pixel in plain Python, rims and seams, what is refused."""

import math

import numpy as np
import pytest
import torch

from crossgeo.errors import UsageError
from crossgeo.kernels.sampling import polar_normalised, polar_normalised_definition, sample_normalised, sample_normalised_definition
from crossgeo.models.panorama import PanoramaView
from crossgeo.models.street import StreetGeometry, directions_to_pixels, look_along
from crossgeo.models.street_view import canvas_directions
from crossgeo.models.views import normalise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8))


def _golden(image: torch.Tensor, x: float, y: float, colour: int, closes: bool) -> float:
    """Bilinear between pixel centres, which lie at halves; past the rim the outermost pixel, or round the seam."""
    height, width, _ = image.shape

    def value(row: int, column: int) -> float:
        column = column % width if closes else min(max(column, 0), width - 1)
        return float(image[min(max(row, 0), height - 1), column, colour])

    left, top = math.floor(x - 0.5), math.floor(y - 0.5)
    right, down = x - 0.5 - left, y - 0.5 - top
    upper = (1 - right) * value(top, left) + right * value(top, left + 1)
    lower = (1 - right) * value(top + 1, left) + right * value(top + 1, left + 1)
    return (((1 - down) * upper + down * lower) / 255 - MEAN[colour]) / STD[colour]


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("size", [(5, 7), (1, 1), (12, 3)])
def test_sampling_is_bilinear_between_pixel_centres_and_goes_on_past_the_rim(size: tuple[int, int], closes: bool) -> None:
    image = _noise(*size, 3)
    draw = torch.Generator().manual_seed(1)
    positions = (torch.rand(2, 3, 4, 2, generator=draw, dtype=torch.float64) * 3 - 1) * torch.tensor([size[1], size[0]])
    given = sample_normalised_definition(image, positions, None, MEAN, STD, torch.float64, closes)
    assert given.shape == (2, 3, 3, 4)
    for p, row, column, colour in np.ndindex(2, 3, 4, 3):
        expected = _golden(image, *positions[p, row, column].tolist(), colour, closes)
        assert given[p, colour, row, column].item() == pytest.approx(expected, abs=1e-9)


def test_masked_pixels_and_positions_that_are_not_finite_are_the_mean() -> None:
    positions = torch.full((1, 1, 4, 2), 2.0)
    positions[0, 0, 1, 0], positions[0, 0, 2, 1] = float("nan"), float("inf")
    mask = torch.tensor([[[True, True, True, False]]])
    given = sample_normalised(_noise(5, 5, 3), positions, mask, MEAN, STD)
    assert (given[0, :, 0, 0] != 0).all()
    assert (given[0, :, 0, 1:] == 0).all()


def test_each_canvas_may_have_a_picture_of_its_own() -> None:
    images, positions = _noise(3, 6, 5, 3), torch.rand(3, 2, 2, 2, generator=torch.Generator().manual_seed(2)) * 5
    together = sample_normalised(images, positions, None, MEAN, STD, torch.float16)
    assert together.dtype == torch.float16 and together.is_contiguous(memory_format=torch.channels_last)
    for image, position, given in zip(images, positions, together, strict=True):
        assert torch.equal(sample_normalised(image, position[None], None, MEAN, STD, torch.float16)[0], given)


def test_a_panorama_rolled_out_is_what_opencv_places_to_a_grey_level() -> None:
    smooth = torch.nn.functional.interpolate(_noise(8, 16, 3).permute(2, 0, 1)[None].float(), (64, 128), mode="bicubic")[0]
    photo = smooth.clamp(0, 255).byte().permute(1, 2, 0).numpy()
    geometry = StreetGeometry(128, 64, "panorama", 37.0)
    along = canvas_directions(24, 12.0, 2.0)
    x, y, shown = directions_to_pixels(geometry, along)
    placed, mask = look_along((photo,), geometry, along)
    positions = torch.from_numpy(np.stack([x, y], axis=-1).astype(np.float32))[None]
    given = sample_normalised(torch.from_numpy(photo), positions, torch.from_numpy(shown)[None], MEAN, STD, closes=True)
    apart = (given - normalise(placed[None], mask[None], MEAN, STD)).abs() * torch.tensor(STD).view(1, 3, 1, 1) * 255
    assert apart.max() < 1.0  # OpenCV mixes in 32 steps and rounds


@pytest.mark.parametrize("whole", [True, False])
def test_a_tile_unrolled_is_what_the_panorama_view_reads(whole: bool) -> None:
    view = PanoramaView(aerial_hw=(9, 22), polar=True)
    tiles = _noise(2, 31, 31, 3)
    given = polar_normalised(tiles, 9, 22, view.mean, view.std, whole=whole)
    expected = view.normalise(np.stack([view.aerial_input(tile) for tile in tiles.numpy()]))
    apart = (given - expected).abs().max() * 255 * 0.229
    assert apart < 1e-4 if whole else 0.1 < apart < 0.52


def test_what_does_not_fit_together_is_refused() -> None:
    image, positions = _noise(5, 5, 3), torch.zeros(2, 3, 3, 2)
    with pytest.raises(ValueError, match=r"positions are \(P, h, w, 2\) of floating point, not \(2, 3, 3, 3\)"):
        sample_normalised(image, torch.zeros(2, 3, 3, 3), None, MEAN, STD)
    with pytest.raises(ValueError, match=r"of uint8, not \(5, 5, 3\) of torch.float32"):
        sample_normalised(image.float(), positions, None, MEAN, STD)
    with pytest.raises(ValueError, match=r"3 images cannot be sampled for 2 canvases"):
        sample_normalised(_noise(3, 5, 5, 3), positions, None, MEAN, STD)
    with pytest.raises(ValueError, match=r"the mask is \(2, 3, 3\) of bool, not \(2, 3\)"):
        sample_normalised(image, positions, torch.ones(2, 3, dtype=torch.bool), MEAN, STD)
    with pytest.raises(ValueError, match=r"tiles are \(B, S, S, 3\) of uint8, not \(1, 5, 4, 3\)"):
        polar_normalised(_noise(1, 5, 4, 3), 4, 4, MEAN, STD)
    with pytest.raises(UsageError, match="cannot run here: results of float64"):
        polar_normalised(_noise(1, 5, 5, 3), 4, 4, MEAN, STD, torch.float64, backend="triton")
    assert polar_normalised_definition(_noise(1, 5, 5, 3), 4, 4, MEAN, STD, torch.float64).dtype == torch.float64
