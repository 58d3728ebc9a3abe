"""From uint8 pictures straight to a network's input: bilinear sampling and normalising in one pass, and the polar transform likewise.

OpenCV places canvases in whole grey levels and on the CPU; here a picture is uploaded once, as bytes, and each canvas is made where the
network reads it. Positions are pixels, x right and y down, pixel edges at whole numbers; past the rim a picture goes on as its
outermost pixels are, as `models.street.look_along` and `models.views.warp` have it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crossgeo.kernels.choose import choose
from crossgeo.kernels.polar import polar_transform

_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def sample_normalised_definition(
    image: Tensor,
    coordinates: Tensor,
    mask: Tensor | None,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
    closes: bool = False,
) -> Tensor:
    """Sample as `sample_normalised`, by gathering four neighbours; computed in the coordinates' type."""
    images, coordinates, seen = _checked(image, coordinates, mask)
    height, width = images.shape[1:3]
    x, y = torch.where(seen[..., None], coordinates - 0.5, 0.0).unbind(-1)  # (P, h, w), from the first pixel's centre
    y = y.clamp(0, height - 1)
    x = x - width * (x / width).floor() if closes else x.clamp(0, width - 1)
    top, left = y.floor(), x.floor()
    down, right = (y - top)[..., None], (x - left)[..., None]
    rows = top.long(), (top.long() + 1).clamp(max=height - 1)
    columns = left.long() % width, (left.long() + 1) % width if closes else (left.long() + 1).clamp(max=width - 1)
    which = torch.arange(len(images), device=image.device)[:, None, None]  # (P or 1, 1, 1)
    a, b, c, d = (images[which, row, column].to(coordinates.dtype) for row in rows for column in columns)  # (P, h, w, 3)
    values = (a * (1 - right) + b * right) * (1 - down) + (c * (1 - right) + d * right) * down
    return _normalised(values, seen, mean, std, dtype)


def sample_normalised(
    image: Tensor,
    coordinates: Tensor,
    mask: Tensor | None,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
    closes: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Sample a uint8 image (H, W, 3), or P images (P, H, W, 3), at (P, h, w, 2) float32 positions (x, y) px, bilinearly.

    Returns (P, 3, h, w) of (value / 255 - mean) / std in channels-last memory, 0 (the mean) where `mask` (P, h, w) is False and where a
    position is not finite. A picture that `closes` is a panorama whose left and right edges are one. ValueError for other shapes or
    types, UsageError where a backend asked for by name cannot run.
    """
    given = (image, coordinates) if mask is None else (image, coordinates, mask)
    unsupported = _unsupported(dtype) or (None if coordinates.dtype == torch.float32 else f"positions of {coordinates.dtype}")
    if choose(backend, *given, unsupported=unsupported) == "torch":
        return sample_normalised_definition(image, coordinates, mask, mean, std, dtype, closes)
    from crossgeo.kernels.triton import sampling as twin

    images, coordinates, _ = _checked(image, coordinates, None)
    return twin.sample_normalised(images, coordinates, mask, mean, std, dtype, closes)


def polar_normalised_definition(
    tiles: Tensor,
    height: int,
    width: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
    whole: bool = True,
) -> Tensor:
    """Unroll as `polar_normalised`, by `polar_transform` in float64."""
    _check_tiles(tiles)
    unrolled = polar_transform(tiles.permute(0, 3, 1, 2).double(), height, width).permute(0, 2, 3, 1)  # (B, height, width, 3)
    return _normalised(unrolled.round() if whole else unrolled, None, mean, std, dtype)


def polar_normalised(
    tiles: Tensor,
    height: int,
    width: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
    whole: bool = True,
    backend: str = "auto",
) -> Tensor:
    """Unroll (B, S, S, 3) uint8 north-up tiles around their centres (`polar_transform`, black outside) and normalise them.

    Returns (B, 3, height, width) in channels-last memory. `whole` rounds to grey levels before normalising, as pictures on disk are; the
    twin's positions are float32, so that now and then a value on the border between two levels is rounded the other way. ValueError for
    other shapes or types, UsageError where a backend asked for by name cannot run.
    """
    if choose(backend, tiles, unsupported=_unsupported(dtype)) == "torch":
        return polar_normalised_definition(tiles, height, width, mean, std, dtype, whole)
    from crossgeo.kernels.triton import sampling as twin

    _check_tiles(tiles)
    return twin.polar_normalised(tiles, height, width, mean, std, dtype, whole)


def _normalised(values: Tensor, seen: Tensor | None, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> Tensor:
    """Turn (P, h, w, 3) grey levels into (P, 3, h, w), 0 where not seen."""
    colours = (values / 255.0 - values.new_tensor(mean)) / values.new_tensor(std)
    if seen is not None:
        colours = torch.where(seen[..., None], colours, 0.0)
    return colours.to(dtype).contiguous().permute(0, 3, 1, 2)


def _checked(image: Tensor, coordinates: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return images (P or 1, H, W, 3), coordinates, and where both they and the mask say that something is seen (P, h, w)."""
    if coordinates.ndim != 4 or coordinates.shape[-1] != 2 or not coordinates.is_floating_point():
        raise ValueError(f"positions are (P, h, w, 2) of floating point, not {tuple(coordinates.shape)} of {coordinates.dtype}")
    images = image[None] if image.ndim == 3 else image
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != torch.uint8 or 0 in images.shape[1:3]:
        raise ValueError(f"images are (H, W, 3) or (P, H, W, 3) of uint8, not {tuple(image.shape)} of {image.dtype}")
    if image.ndim == 4 and len(image) != len(coordinates):
        raise ValueError(f"{len(image)} images cannot be sampled for {len(coordinates)} canvases; give one, or one for each")
    if mask is not None and (mask.shape != coordinates.shape[:-1] or mask.dtype != torch.bool):
        raise ValueError(f"the mask is {tuple(coordinates.shape[:-1])} of bool, not {tuple(mask.shape)} of {mask.dtype}")
    seen = coordinates.isfinite().all(dim=-1)
    return images, coordinates, seen if mask is None else seen & mask


def _check_tiles(tiles: Tensor) -> None:
    if tiles.ndim != 4 or tiles.shape[1] != tiles.shape[2] or tiles.shape[1] < 2 or tiles.shape[3] != 3 or tiles.dtype != torch.uint8:
        raise ValueError(f"tiles are (B, S, S, 3) of uint8, not {tuple(tiles.shape)} of {tiles.dtype}")


def _unsupported(dtype: torch.dtype) -> str | None:
    return None if dtype in _TYPES else f"results of {str(dtype).removeprefix('torch.')}"
