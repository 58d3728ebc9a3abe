"""Small records of every layout."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crossgeo.training.datasets.records import ObjectRecord, PanoramaRecord


def blobs(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return smooth colours, which JPEG keeps well."""
    small = np.random.default_rng(seed).integers(0, 256, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def panorama_record(number: int, split: str) -> PanoramaRecord:
    """Return a record 1 km from the next, at a place that float32 cannot hold."""
    xy = (693_012.3456 + 1000.0 * number, 6_090_123.4567)
    return PanoramaRecord(f"pano{number:03d}", blobs(number, 32, 128), blobs(number + 500, 64, 64), xy, "EPSG:32755", split, 0.12)


def object_record(number: int, split: str) -> ObjectRecord:
    """Return a drone's click; each aerial is 1 km from the next."""
    return ObjectRecord(
        id=str(100 + number),
        photo=blobs(number, 64, 64),
        aerial=blobs(number + 500, 128, 128),
        click_px=(20.0, 31.0),
        box_px=(10.25, 12.0, 40.5, 50.75),
        quad_px=(10.25, 12.0, 40.5, 12.0, 40.5, 50.75, 10.25, 50.75),
        kind="building",
        split=split,
        task="drone",
        crs="EPSG:32615",
        aerial_centre_xy=(539_827.0 + 1000.0 * number, 4_880_079.0),
        photo_xy=(539_733.4 + 1000.0 * number, 4_880_095.0),
    )


@pytest.fixture
def panoramas() -> list[PanoramaRecord]:
    """Return two records of each split of CVUSA."""
    return [panorama_record(n, split) for n, split in enumerate(["train", "train", "val", "val"])]


@pytest.fixture
def dense(panoramas: list[PanoramaRecord]) -> list[PanoramaRecord]:
    """Return CVACT's: the same, then three of the test 4 m apart."""
    test = [panorama_record(n, "test") for n in (10, 11, 12)]
    x, y = test[0].xy
    return panoramas + [replace(row, xy=(x + 4.0 * n, y)) for n, row in enumerate(test)]


@pytest.fixture
def objects() -> list[ObjectRecord]:
    """Return records of each split of CVOGL's drone task."""
    return [object_record(n, split) for n, split in enumerate(["train", "train", "val", "test"])]


@pytest.fixture(name="blobs")
def blobs_fixture() -> Callable[[int, int, int], NDArray[np.uint8]]:
    """Return the function that makes pictures."""
    return blobs
