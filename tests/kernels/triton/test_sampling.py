"""kernels/triton/sampling.py: interpreted against the definitions in float64, and compiled for four generations of cards."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from crossgeo.kernels.sampling import polar_normalised, polar_normalised_definition, sample_normalised, sample_normalised_definition

ARCHITECTURES = (80, 90, 100, 120)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}  # of values up to 2.6
SAMPLED = [((13, 17), (3, 5, 7)), ((1, 1), (1, 1, 1)), ((40, 9), (2, 11, 13))]  # (H, W), (P, h, w)


def _noise(*shape: int, device: str) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(sum(shape))).to(device)


def _positions(size: tuple[int, int], canvases: tuple[int, int, int], device: str) -> tuple[Tensor, Tensor]:
    """Positions within and beyond a picture, and a mask."""
    draw = torch.Generator().manual_seed(sum(size))
    positions = (torch.rand(*canvases, 2, generator=draw) * 2 - 0.5) * torch.tensor([size[1], size[0]])
    return positions.to(device), (torch.rand(canvases, generator=draw) < 0.8).to(device)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("size", "canvases"), SAMPLED)
def test_samples_agree_with_the_definition(
    size: tuple[int, int], canvases: tuple[int, int, int], masked: bool, closes: bool, dtype: torch.dtype, device: str
) -> None:
    image = _noise(*size, 3, device=device)
    positions, mask = _positions(size, canvases, device)
    seen = mask if masked else None
    given = sample_normalised(image, positions, seen, MEAN, STD, dtype, closes, backend="triton")
    expected = sample_normalised_definition(image, positions.double(), seen, MEAN, STD, torch.float64, closes)
    assert given.dtype == dtype and given.is_contiguous(memory_format=torch.channels_last)
    assert (given.double() - expected).abs().max() < TOLERANCE[dtype]


def test_each_canvas_reads_its_own_picture_and_nothing_where_positions_are_not_finite(device: str) -> None:
    images = _noise(3, 13, 17, 3, device=device)
    positions, mask = _positions((13, 17), (3, 5, 7), device)
    positions[0, 0, 0], positions[1, 2, 3, 0], positions[2, 4, 6, 1] = float("nan"), float("inf"), -float("inf")
    mask[:] = True
    given = sample_normalised(images, positions, mask, MEAN, STD, backend="triton")
    expected = sample_normalised_definition(images, positions.double(), mask, MEAN, STD, torch.float64)
    assert (given - expected).abs().max() < 1e-5
    assert (given[0, :, 0, 0] == 0).all() and (given[1, :, 2, 3] == 0).all() and (given[2, :, 4, 6] == 0).all()


def test_a_picture_that_closes_is_read_round_its_seam_however_far_away(device: str) -> None:
    image = _noise(4, 9, 3, device=device)
    positions = torch.tensor([[[[-8.75, 2.0], [9e6, 2.0], [0.0, 2.0], [9.0, 2.0]]]], device=device)
    given = sample_normalised(image, positions, None, MEAN, STD, closes=True, backend="triton")
    expected = sample_normalised_definition(image, positions.double(), None, MEAN, STD, torch.float64, closes=True)
    assert (given - expected)[..., [0, 2, 3]].abs().max() < 1e-5
    assert given.isfinite().all()


def test_bytes_beyond_what_32_bits_count_are_found(device: str) -> None:
    image = torch.zeros(27_000, 27_000, 3, dtype=torch.uint8, device=device)  # 2.19 GB
    image[26_998:, 26_990:] = _noise(2, 10, 3, device=device)
    positions = torch.full((1, 1, 4, 2), 26_999.0, device=device)
    positions[..., 0] -= torch.tensor([0.25, 2.5, 5.5, 1.0], device=device)
    given = sample_normalised(image, positions, None, MEAN, STD, backend="triton")
    expected = sample_normalised_definition(image, positions.double(), None, MEAN, STD, torch.float64)
    assert (given - expected).abs().max() < 1e-5
    assert given.std() > 0.1


def test_tiles_beyond_what_32_bits_count_are_unrolled(far: Callable[..., Tensor], device: str) -> None:
    side, height, width = 27_000, 4, 6  # 2.19e9 bytes a tile
    tiles = far((2, side, side, 3), (side * side * 3, side * 3, 3, 1), torch.uint8)
    radius = (height - 1 - torch.arange(height, dtype=torch.float64)[:, None]) * (side / 2 / height)
    angle = torch.arange(width, dtype=torch.float64) * (2 * math.pi / width)
    positions = side / 2 + torch.stack([-radius * angle.sin(), radius * angle.cos()], dim=-1)  # (height, width, 2) x, y of pixels' centres
    for x, y in positions.flatten(0, 1).floor().int().tolist():
        tiles[:, y - 1 : y + 3, x - 1 : x + 3] = _noise(2, 4, 4, 3, device=device) // 2 + (x + y) % 100
    given = polar_normalised(tiles, height, width, MEAN, STD, whole=False, backend="triton")
    twice = (positions + 0.5).expand(2, -1, -1, -1).to(device)
    expected = sample_normalised_definition(tiles, twice, None, MEAN, STD, torch.float64)
    assert (given.double() - expected).abs().max() < 2e-2  # 27,000 px in float32 are known to 1/500
    assert expected.std() > 0.1


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("side", "height", "width"), [(37, 11, 26), (2, 1, 1), (64, 9, 30)])
def test_unrolled_tiles_agree_with_the_definition(side: int, height: int, width: int, dtype: torch.dtype, device: str) -> None:
    tiles = _noise(2, side, side, 3, device=device)
    given = polar_normalised(tiles, height, width, MEAN, STD, dtype, whole=False, backend="triton")
    expected = polar_normalised_definition(tiles, height, width, MEAN, STD, torch.float64, whole=False)
    assert given.dtype == dtype and given.is_contiguous(memory_format=torch.channels_last)
    assert (given.double() - expected).abs().max() < 3 * TOLERANCE[dtype]  # positions in float32 besides


def test_whole_grey_levels_are_the_definitions_but_for_values_between_two(device: str) -> None:
    tiles = _noise(2, 37, 37, 3, device=device)
    given = polar_normalised(tiles, 32, 64, MEAN, STD, backend="triton")
    levels = torch.tensor(STD, device=device).view(1, 3, 1, 1) * 255
    apart = ((given - polar_normalised_definition(tiles, 32, 64, MEAN, STD)) * levels).abs()
    exact = polar_normalised_definition(tiles, 32, 64, (0.0,) * 3, (1 / 255,) * 3, torch.float64, whole=False)
    between = (exact - exact.floor() - 0.5).abs() < 1e-3
    assert apart[~between].max() < 1e-3
    assert apart.max() < 1.001


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_both_compile_without_spills_and_without_passing_anything_through_shared_memory(
    arch: int, dtype: torch.dtype, compile_twin: Callable[..., Any]
) -> None:
    photo = torch.empty(1, 1200, 1600, 3, dtype=torch.uint8, device="meta")
    positions = torch.empty(24, 160, 160, 2, device="meta")
    mask = torch.empty(24, 160, 160, dtype=torch.bool, device="meta")
    tiles = torch.empty(8, 750, 750, 3, dtype=torch.uint8, device="meta")
    twin = "crossgeo.kernels.triton.sampling:"
    launches = compile_twin(twin + "sample_normalised", arch, photo, positions, mask, MEAN, STD, dtype, False)
    launches += compile_twin(twin + "sample_normalised", arch, photo[:, :1, :1], positions[:1, :1, :1], None, MEAN, STD, dtype, True)
    launches += compile_twin(twin + "polar_normalised", arch, tiles, 128, 512, MEAN, STD, dtype, True)
    launches += compile_twin(twin + "polar_normalised", arch, tiles[:1, :2, :2], 1, 1, MEAN, STD, dtype, False)
    for launch in launches:
        launch.check(arch)
        assert launch.shared == 0
        assert launch.registers <= 64
