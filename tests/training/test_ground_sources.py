"""training/ground_sources.py: what is held out is never shown to training, not even at the rim of a window."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyproj import CRS
from rasterio.transform import from_origin

from crossgeo import geodesy
from crossgeo.errors import InputError
from crossgeo.training.ground_sources import load_grounds

WEST, NORTH, SIDE = 363_000.0, 3_057_600.0, 200  # 200 m at 1 m/px


@pytest.fixture
def ortho(tmp_path: Path) -> Path:
    """Return a GeoTIFF without a black pixel."""
    rgb = np.random.default_rng(0).integers(40, 200, (3, SIDE, SIDE), np.uint8)
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 3, "dtype": "uint8", "crs": "EPSG:32645"}
    with rasterio.open(tmp_path / "ortho.tif", "w", transform=from_origin(WEST, NORTH, 1.0, 1.0), **profile) as file:
        file.write(rgb)
    return tmp_path / "ortho.tif"


def test_training_sees_nothing_of_what_is_held_out_and_the_test_sees_all(ortho: Path) -> None:
    lat, lon = geodesy.to_lat_lon(CRS.from_epsg(32645), WEST + SIDE / 2, NORTH - SIDE / 2)
    south_half = (lon - 0.002, lat - 0.01, lon + 0.002, lat)
    seen = load_grounds([ortho], [], gsd_m=1.0, held_out=[south_half], part="train")[0]
    tested = load_grounds([ortho], [], gsd_m=1.0, held_out=[south_half], part="held-out")[0]
    assert not (seen.usable & tested.usable).any()
    rows = seen.usable.shape[0]
    assert seen.usable[: rows // 2 - 3].mean() > 0.95 and tested.usable[rows // 2 + 3 :].mean() > 0.95
    assert not seen.scenes[0][~seen.usable].any()
    assert seen.scenes[0][seen.usable].min() > 0
    assert tested.scenes[0][: rows // 2 - 3, 3:-3].min() > 0  # photos of held-out ground look across the border


def test_outlines_that_are_not_there_are_named(ortho: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nope\.geojson: no such file"):
        load_grounds([ortho], [tmp_path / "nope.geojson"])
