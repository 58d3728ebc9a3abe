"""Features made before anybody clicks: of which ground, within which room, and that clicks then find them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossgeo.engine import warming
from crossgeo.engine.feature_cache import FeatureCache, for_windows
from crossgeo.engine.feature_store import FeatureStore, stored_bytes, surely_kept
from crossgeo.engine.fine import Spot
from crossgeo.engine.locate import ObjectFinder, WindowPlace
from crossgeo.engine.photo import Photo
from crossgeo.engine.pose import DronePose
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.engine.warming import Warming, places_of, warm_index
from crossgeo.errors import LimitError, UsageError
from crossgeo.geodesy import to_lat_lon
from crossgeo.indexer.filters import Filters
from crossgeo.indexer.index import GeoIndex
from crossgeo.models.object_network import ReferenceFeatures
from crossgeo.models.street_view import StreetObjectView
from crossgeo.models.views import ObjectView

VIEW = ObjectView(photo_px=32, window_px=64, gsd_m=0.5)
PRECISE = RuntimeOptions(runtime="torch", precision="fp32")
MB = 1_000_000


class Counting(nn.Module):
    """Keeps count of the windows it has seen; sees boxes nowhere in particular."""

    def __init__(self) -> None:
        super().__init__()
        told = {"window_px": 64, "photo_px": 32}
        self.config = SimpleNamespace(stride=8, name="counting", look_deg=0.0, anchors=((32.0, 32.0),), to_dict=lambda: told, **told)
        self.reference_channels = 3
        self.register_buffer("anchors", torch.tensor([[32.0, 32.0]]))
        self.windows = 0

    def encode_reference(self, windows: Tensor, sights: Tensor | None = None) -> ReferenceFeatures:
        self.windows += len(windows) // 8
        return ReferenceFeatures(windows[:, :, ::8, ::8].float())

    def encode_query(self, photos: Tensor, clicks: Tensor) -> Tensor:
        return torch.zeros(len(photos), 1)

    def fuse(self, features: Tensor, query: Tensor) -> Tensor:
        return torch.zeros(len(features), 5, *features.shape[-2:])


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Counting:
    made: Any = Counting()

    def load(index: GeoIndex, weights: str, features: FeatureCache, runtime: RuntimeOptions | None) -> ObjectFinder:
        view: Any = StreetObjectView() if weights == "street" else VIEW
        return ObjectFinder(index, made, view, PRECISE, features=features, weights_sha256="a")

    monkeypatch.setattr(ObjectFinder, "load", load)
    return made


@pytest.fixture
def middle(index_path: Path) -> tuple[float, float]:
    """Of a tile with imagery all around: lat, lon."""
    with GeoIndex.open(index_path) as index:
        segment = index.segments[0]
        x, y = (segment.bounds[0] + segment.bounds[2]) / 2, (segment.bounds[1] + segment.bounds[3]) / 2
        return to_lat_lon(segment.crs, x, y)


def test_windows_lie_on_the_grid_of_clicks_wherever_the_ground_asked_for_has_imagery(index_path: Path, middle: tuple[float, float]) -> None:
    with GeoIndex.open(index_path) as index:
        few = places_of(index, [Filters.of(near=middle, radius_m=5.0)])
        x, y = index.segments[0].bounds[0] + index.segments[0].bounds[2], index.segments[0].bounds[1] + index.segments[0].bounds[3]
        away = [math.hypot(px - x / 2, py - y / 2) for _, px, py in few]
        assert all(px % 2.0 == 0.0 and py % 2.0 == 0.0 for _, px, py in few)
        assert math.pi * 5.0**2 / 4 <= len(few) <= math.pi * 9.0**2 / 4  # one each 2 m, and those that clicks at the rim are rounded to
        assert max(away) < 9.0 and min(away) <= math.sqrt(2.0)
        assert len(places_of(index, [Filters.of(near=middle, radius_m=0.1)])) >= 1
        twice = places_of(index, [Filters.of(near=middle, radius_m=5.0)] * 2)
        assert twice == few
        every = places_of(index, [Filters()])
        assert set(few) < set(every) and all(index.covers(*place) for place in every)
        missed = [n for n in range(len(index)) if index.covers(index.segments[0], *index.centres[n]) and not _near(index.centres[n], every)]
        assert not missed


def _near(centre: Any, places: list[WindowPlace]) -> bool:
    return any(abs(x - centre[0]) <= 1.0 and abs(y - centre[1]) <= 1.0 for _, x, y in places)


def test_clicks_on_warmed_ground_find_their_windows_made(
    index_path: Path, middle: tuple[float, float], model: Counting, tmp_path: Path
) -> None:
    told: list[Warming] = []
    steps: list[tuple[int, int]] = []

    def planned(found: Warming) -> bool:
        assert model.windows == 0
        told.append(found)
        return True

    found = warm_index(index_path, tmp_path, near=[middle], radius_m=6.0, planned=planned, progress=lambda *at: steps.append(at))
    assert told == [found] and found.there == 0 and model.windows == found.windows > 20
    assert steps[-1] == (found.windows, found.windows)
    assert found.bytes == found.windows * found.window_bytes
    with GeoIndex.open(index_path) as index:
        cache = FeatureCache(folder=tmp_path)
        finder: Any = ObjectFinder.load(index, "drone", cache, None)
        segment = index.segments[0]
        x, y = (segment.bounds[0] + segment.bounds[2]) / 2, (segment.bounds[1] + segment.bounds[3]) / 2
        photo = Photo.from_pixels(np.zeros((150, 200, 3), np.uint8), "grey")
        for east, north in ((0.0, 0.0), (5.9, 0.0), (-4.1, 4.1), (0.3, -5.9)):
            spot = Spot(segment, x + east, y + north, DronePose(0.0, 65.0), 0.9, 3.0, 0)
            assert finder.find(photo, (100.0, 75.0), spot) is not None
        assert model.windows == found.windows and cache.stats().misses == 0
        cache.close()


def test_it_goes_on_where_it_ended(
    index_path: Path, middle: tuple[float, float], model: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgeo.engine.locate.WINDOW_BYTES", 50 * 8 * 3 * 64**2)  # fifty at once

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        warm_index(index_path, tmp_path, near=[middle], radius_m=12.0, progress=stop)
    begun = model.windows
    found = warm_index(index_path, tmp_path, near=[middle], radius_m=12.0)
    assert 50 == begun == found.there < found.windows == model.windows
    assert warm_index(index_path, tmp_path, near=[middle], radius_m=12.0).there == found.windows == model.windows


def test_what_would_not_fit_is_refused_with_what_would(
    index_path: Path, middle: tuple[float, float], model: Counting, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"for sure; give --feature-cache-mb \d+") as refused:
        warm_index(index_path, tmp_path, feature_cache_bytes=5 * MB, near=[middle], radius_m=40.0)
    assert model.windows == 0
    enough = int(re.findall(r"give --feature-cache-mb (\d+)", str(refused.value))[0])
    assert warm_index(index_path, tmp_path, feature_cache_bytes=enough * MB, near=[middle], radius_m=40.0).windows == model.windows
    tight: list[Warming] = []
    warm_index(
        index_path, tmp_path / "other", feature_cache_bytes=(enough - 2) * MB, near=[middle], radius_m=40.0,
        planned=lambda found: bool(tight.append(found)),
    )  # fmt: skip
    assert tight[0].room < tight[0].windows  # and no more than is needed is asked for


def test_other_ground_other_weights_and_full_disks_are_refused(
    index_path: Path, middle: tuple[float, float], model: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no imagery"):
        warm_index(index_path, tmp_path, near=[(middle[0] + 1.0, middle[1])])
    with pytest.raises(UsageError, match="lines of sight"):
        warm_index(index_path, tmp_path, "street", near=[middle])
    with pytest.raises(UsageError, match="needs a place"):
        warm_index(index_path, tmp_path, radius_m=5.0)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LimitError, match="Not a directory"):
        warm_index(index_path, tmp_path / "file" / "kept", near=[middle], radius_m=5.0)
    monkeypatch.setattr(warming, "_MOST", 10)
    with pytest.raises(UsageError, match="too much ground"):
        warm_index(index_path, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    monkeypatch.setattr(warming, "_MOST", 10**9)
    with pytest.raises(LimitError, match="no room"):
        warm_index(index_path, tmp_path, near=[middle], radius_m=5.0)
    assert model.windows == 0


def test_what_others_push_out_is_told(index_path: Path, middle: tuple[float, float], model: Counting, tmp_path: Path) -> None:
    def others(done: int, total: int) -> None:
        cache = FeatureCache(0, tmp_path, for_windows(8 * MB))
        for n in range(16):
            cache.put(bytes([n, done % 256]) * 16, np.ones((1, 1, 500, 500), np.float16))
        cache.close()

    with pytest.raises(LimitError, match="did not stay"):
        warm_index(index_path, tmp_path, feature_cache_bytes=8 * MB, near=[middle], radius_m=10.0, progress=others)


@pytest.fixture(params=[(4 << 20, 3000), (4 << 20, 60_000), (8 << 20, 250_000)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[FeatureStore, int, int]]:
    limit_bytes, value_bytes = request.param
    made = FeatureStore(tmp_path, limit_bytes, "values")
    made._users = 1
    yield made, limit_bytes, value_bytes
    made.close()


def test_as_many_values_as_are_said_to_stay_fit_into_one_generation(store: tuple[FeatureStore, int, int], tmp_path: Path) -> None:
    kept, limit_bytes, value_bytes = store
    count = surely_kept(limit_bytes, value_bytes)
    rng = np.random.default_rng(0)
    keys = [rng.bytes(32) for _ in range(count)]
    assert all(kept.put(key, bytes(value_bytes)) for key in keys)
    assert len([*tmp_path.glob("values-*.lmdb")]) == 1
    assert all(kept.has(key) for key in keys) and not kept.has(b"0" * 32)
    assert count * stored_bytes(value_bytes) > 0.7 * (limit_bytes // 2)  # most of it is used, or nothing would be proved
    assert surely_kept(limit_bytes, limit_bytes) == 0
