"""An explained answer and a report of a batch, both with names that strangers might think of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crossgeo.engine.explain import Explanation, Report, explain
from crossgeo.engine.photo import Photo
from crossgeo.engine.question import BatchOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import InputError
from crossgeo.geodesy import geojson_polygon, to_lat_lon
from crossgeo.indexer.index import GeoIndex
from crossgeo.models import checkpoint
from crossgeo.models.attengeo import PRESETS, AttenGeo

X, Y = 363_147.0, 3_057_452.0  # in the middle of the patchwork
HOSTILE = "\"><img src=x onerror=alert(1)><script>alert('2')</script>&\u202egpj.\udcff\x07.jpg"
SMALL = replace(PRESETS["attengeo-s"], name="small", window_px=96, photo_px=64, window_gsd_m=0.5)


@pytest.fixture(scope="session")
def hostile() -> str:
    """A name that no page may take for more than text."""
    return HOSTILE


@pytest.fixture(scope="session")
def network() -> AttenGeo:
    """An untrained network of few pixels."""
    torch.manual_seed(0)
    return AttenGeo(SMALL).eval()


@pytest.fixture(scope="session")
def object_weights(network: AttenGeo, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same as a file."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    told = {"name": "small", "kind": "attengeo", "config": SMALL.to_dict(), "view": SMALL.view.to_dict(), "thresholds": {"confidence": 0.9}}
    checkpoint.save_weights(path, network.state_dict(), told)
    return str(path)


@pytest.fixture(scope="session")
def searching(index_path: Path, dense: Any, object_weights: str) -> Iterator[GeoSearch]:
    """A search that registers and judges, with objects."""
    with GeoSearch(GeoIndex.open(index_path), dense, object_weights) as opened:
        yield opened


@pytest.fixture(scope="session")
def known() -> BatchOptions:
    """What is known of the photos' camera, so that few poses are tried."""
    return BatchOptions(heading_deg=30.0, height_m=68.0, fov_deg=70.0, top=3)


@pytest.fixture(scope="session")
def photo(ground: Any) -> Photo:
    """A photo of the patchwork under a hostile name."""
    taken: Photo = ground.photo(X, Y, 30.0, 95.0)
    return replace(taken, name=HOSTILE)


@pytest.fixture(scope="session")
def told(searching: GeoSearch, photo: Photo, known: BatchOptions) -> Explanation:
    """The explanation of a located photo with a click."""
    return explain(searching, photo, (120.0, 90.0), known)


def record(index: GeoIndex, number: int, status: str = "located", name: str = "a.jpg") -> dict[str, Any]:
    """A record as a batch writes it."""
    if status == "error":
        return {"photo": name, "error": {"type": "InputError", "message": f"{name}: the image is damaged"}}
    tile = (7 * number) % len(index)
    segment, (x, y) = index.segment_of(tile), index.centres[tile].tolist()
    lat, lon = to_lat_lon(segment.crs, x, y)
    place = {
        "lat": lat, "lon": lon, "radius_m": 2.5 + number % 9, "heading_deg": 40.0, "camera": None, "score": 0.9 - 0.01 * (number % 50),
        "tile": tile, "source": name, "vintage": "2024-05",
    }  # fmt: skip
    polygon = geojson_polygon(segment.crs, [(x, y), (x + 8, y), (x + 8, y + 6), (x, y + 6)])
    thing = {"lat": lat, "lon": lon, "polygon": polygon, "width_m": 8.0, "height_m": 6.0, "confidence": 0.7}
    places = [] if status == "outside_coverage" else [place, {**place, "score": place["score"] - 0.1}]
    about = {"notes": [f"{name} was guessed"], "timings_ms": {"total": 1500.0}}
    return {"photo": name, "status": status, "places": places, "object": thing if status == "located" else None, **about}


@pytest.fixture(scope="session", name="record")
def record_fixture() -> Any:
    """How to make a record."""
    return record


@pytest.fixture(scope="session")
def report_path(index_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of each status, hostile names throughout; of one photo the file is gone."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)  # what compresses worst

    def gone() -> Photo:
        raise InputError(f"{HOSTILE}: no such file")

    with GeoIndex.open(index_path) as index, Report(path, index, f"geo batch '{HOSTILE}'") as report:
        for number, status in enumerate(("located", "located", "ambiguous", "low_confidence", "outside_coverage", "error")):
            read = gone if number == 1 else lambda: Photo.from_pixels(noise, HOSTILE)
            report.add(record(index, number, status, HOSTILE), read, [(100.0, 50.0)])
        report.finish()
    return path
