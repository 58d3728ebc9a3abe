"""engine/runtime/pictures.py: what engines are checked on is ground, and rims only where there is nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

from crossgeo.engine.runtime.check import check
from crossgeo.engine.runtime.half import Half
from crossgeo.engine.runtime.pictures import of_imagery
from crossgeo.errors import InputError


def ortho(path: Path, seen: NDArray[np.bool_]) -> Path:
    """Write imagery of 0.5 m a pixel, without data where it is not `seen`."""
    import rasterio

    pixels = np.random.default_rng(0).integers(1, 256, (3, *seen.shape), dtype=np.uint8)
    how = {"driver": "GTiff", "width": seen.shape[1], "height": seen.shape[0], "count": 3, "dtype": "uint8", "crs": "EPSG:32631"}
    with rasterio.open(path, "w", transform=Affine(0.5, 0, 500000, 0, -0.5, 5000000), nodata=0, **how) as file:
        file.write(pixels * seen)
    return path


def test_pictures_have_no_rims_where_there_is_ground_enough(tmp_path: Path) -> None:
    seen = np.zeros((800, 800), np.bool_)
    seen[:, :500] = True
    pictures = of_imagery([ortho(tmp_path / "ortho.tif", seen)])
    assert 2 <= len(pictures) <= 24
    assert pictures.any(axis=-1).mean(axis=(1, 2)).min() > 0.99
    np.testing.assert_array_equal(pictures, of_imagery([tmp_path / "ortho.tif"]))


def test_pictures_have_rims_where_there_is_nothing_else_and_too_little_ground_is_said(tmp_path: Path) -> None:
    seen = np.zeros((300, 300), np.bool_)
    seen[:, :105] = True
    pictures = of_imagery([ortho(tmp_path / "strip.tif", seen)])
    assert 0.7 <= pictures.any(axis=-1).mean() < 0.99
    seen[:, 60:] = False
    with pytest.raises(InputError, match="shows too little ground to check an engine with"):
        of_imagery([ortho(tmp_path / "rim.tif", seen)])


@pytest.mark.parametrize("name", ["aerial", "reference", "query"])
def test_where_there_is_no_imagery_networks_see_their_mean(
    halves: Callable[[], dict[str, Half]], name: str, pictures: NDArray[np.uint8]
) -> None:
    half, holed = halves()[name], pictures.copy()
    holed[:, :, :48] = 0
    images = next(rows for rows in half.examples(holed) if rows.shape[1:2] == (3,))
    rim = images[..., : images.shape[-1] // 4].astype(np.float64)
    assert np.abs(rim - (0.0 if name == "aerial" else 127.0)).max() < 1e-2
    assert check(half, lambda inputs: _by_torch(half, inputs), holed).problems == ()


def _by_torch(half: Half, inputs: tuple[NDArray[np.float32], ...]) -> tuple[NDArray[np.float32], ...]:
    import torch

    with torch.inference_mode():
        return tuple(output.numpy() for output in half.module(*(torch.from_numpy(rows) for rows in inputs)))
