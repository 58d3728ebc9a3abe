"""A finished index answers from the right segment, exactly, and says what it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgeo import geodesy
from crossgeo.errors import InputError, MismatchError, StoreError, UsageError
from crossgeo.indexer.grid import Window
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import ModelIdentity
from crossgeo.indexer.verify import verify_index


@pytest.fixture
def index(made_index: Path) -> Any:
    with GeoIndex.open(made_index) as opened:
        yield opened


def test_places_far_apart_are_segments_with_their_own_crs(index: GeoIndex) -> None:
    assert [s.crs.to_epsg() for s in index.segments] == [32645, 32737]
    assert [s.number for s in index.segments] == [0, 1]
    assert index.segments[1].first_id == index.segments[0].tiles
    assert len(index) == sum(s.tiles for s in index.segments) == len(index.segment_numbers)
    assert index.segment_of(len(index) - 1) is index.segments[1]
    south, west, north, east = index.segments[0].bounds_lat_lon
    assert 27.6 < south < north < 27.7
    assert 85.5 < west < east < 85.6
    assert index.bounds_lat_lon[0] < -6.0 < 27.6 < index.bounds_lat_lon[2]


def test_a_tile_lies_at_its_centre_in_lat_lon(index: GeoIndex) -> None:
    for tile in (0, 5, len(index) - 1):
        x, y = index.centres[tile]
        lat, lon = index.lat_lon([tile])[0]
        assert (lat, lon) == pytest.approx(geodesy.to_lat_lon(index.segment_of(tile).crs, x, y), abs=1e-12)
        assert index.segment_at(lat, lon) == (index.segment_of(tile), pytest.approx(x, abs=1e-4), pytest.approx(y, abs=1e-4))


def test_every_tile_finds_itself_first(index: GeoIndex) -> None:
    ids = np.arange(0, len(index), 7)
    scores, found = index.search(index.descriptors(ids), 3)
    np.testing.assert_array_equal(found[:, 0], ids)
    np.testing.assert_allclose(scores[:, 0], 1.0, atol=1e-5)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_search_equals_brute_force_over_all_segments(index: GeoIndex) -> None:
    queries = np.random.default_rng(0).normal(size=(5, index.manifest.dim)).astype(np.float32)
    everything = index.descriptors(np.arange(len(index)))
    exact = queries @ everything.T
    scores, ids = index.search(queries, 10)
    np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :10], atol=1e-4)
    np.testing.assert_allclose(scores, np.take_along_axis(exact, ids, 1), atol=1e-4)


def test_search_among_some_tiles_is_exact_and_stays_among_them(index: GeoIndex) -> None:
    queries = np.random.default_rng(0).normal(size=(5, index.manifest.dim)).astype(np.float32)
    some = np.random.default_rng(1).choice(len(index), 40, replace=False)
    exact = queries @ index.descriptors(np.sort(some)).T
    scores, ids = index.search(queries, 6, ids=some)
    assert set(ids.ravel().tolist()) <= set(some.tolist())
    np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :6], atol=1e-4)
    assert index.search(queries, 100, ids=some)[1].shape == (5, 40)
    assert index.search(queries, 100, ids=[])[1].shape == (5, 0)
    assert index.search(queries, 10**6)[1].shape == (5, len(index))


def test_tiles_near_a_place_are_those_within_the_radius(index: GeoIndex) -> None:
    lat, lon = index.lat_lon([20])[0]
    near = set(index.ids_near(lat, lon, 40.0).tolist())
    far = [geodesy.distance_m(lat, lon, *place) for place in index.lat_lon(np.arange(len(index)))]
    assert near == {n for n, d in enumerate(far) if d <= 40.0}
    assert 10 < len(near) < len(index)
    assert len(index.ids_near(0.0, 0.0, 1000.0)) == 0


def test_a_window_shows_the_source_at_its_place(index: GeoIndex, paint: Any) -> None:
    whole = paint(400, 500)  # 0.5 m from (353400, 3058000)
    rgb, valid = index.read_window(index.segments[0], 353400.0 + 100.0, 3058000.0 - 80.0, 64.0, 128)
    assert valid.all()
    assert np.abs(rgb.astype(int) - whole[96:224, 136:264]).mean() < 4
    rgb, valid = index.read_window(index.segments[0], 353400.0, 3058000.0, 64.0, 64)
    assert valid[33:, 33:].all()
    assert not valid[:31].any()
    assert not rgb[~valid].any()


def test_tiles_are_described_from_the_pixels_that_a_window_shows(index: GeoIndex, describe: Any) -> None:
    for tile in (0, 17, len(index) - 1):
        rgb, _ = index.read_window(index.segment_of(tile), *index.centres[tile], index.tile_m, index.tile_px)
        np.testing.assert_allclose(describe(rgb[None])[0], index.descriptors([tile])[0], atol=1e-6)


def test_windows_of_a_dense_grid_are_the_single_windows(index: GeoIndex) -> None:
    segment = index.segments[0]
    centres = np.stack(np.meshgrid(np.arange(-20, 21, 5), np.arange(-20, 21, 5)), -1).reshape(-1, 2) + index.centres[30]
    rgb, valid = index.read_windows(segment, centres, 60.0, 32)
    for n, (x, y) in enumerate(centres):
        one = index.read_window(segment, float(x), float(y), 60.0, 32)
        np.testing.assert_array_equal(rgb[n], one[0])
        np.testing.assert_array_equal(valid[n], one[1])


def test_an_index_knows_which_ground_it_covers(index: GeoIndex) -> None:
    segment = index.segments[0]
    assert index.covers(segment, 353400.3, 3057999.7)
    assert not index.covers(segment, 353399.7, 3057999.7)
    assert not index.covers(segment, 353400.3, 3058000.3)
    assert index.covers(segment, 353649.7, 3057800.3)
    assert not index.covers(segment, 353650.3, 3057800.3)
    assert not index.covers(segment, float("inf"), 0.0)
    assert not index.covers(segment, 1e12, 0.0)
    assert index.segment_at(10.0, 10.0) is None
    assert index.segment_at(27.0, 85.0) is None


def test_the_true_bounds_of_a_window_hold_its_pixels(index: GeoIndex) -> None:
    """A window asked for between pixels shows exactly what lies where Window.at says."""
    window = Window.at(353500.2, 3057900.3, 30.0, index.gsd_m)
    x, y = window.x_min + window.size_m / 2, window.y_max - window.size_m / 2
    a = index.read_window(index.segments[0], 353500.2, 3057900.3, 30.0, 60)[0]
    np.testing.assert_array_equal(a, index.read_window(index.segments[0], x, y, 30.0, 60)[0])


def test_another_model_view_or_name_is_refused(index: GeoIndex, identity: ModelIdentity) -> None:
    index.check_model(identity)
    for other, word in (
        (ModelIdentity("made", "ff" * 32, identity.view), "weights"),
        (ModelIdentity("made", identity.sha256, "00" * 16), "view"),
        (ModelIdentity("other", identity.sha256, identity.view), "name"),
    ):
        with pytest.raises(MismatchError, match=f"made.geo was built with made.*{word}"):
            index.check_model(other)


def test_questions_that_make_no_sense_are_refused(index: GeoIndex) -> None:
    with pytest.raises(UsageError, match="length 48"):
        index.search(np.zeros((1, 7), np.float32), 3)
    with pytest.raises(UsageError, match="at least one"):
        index.search(np.zeros((1, 48), np.float32), 0)
    index.close()
    with pytest.raises(UsageError, match="closed"):
        index.read_window(index.segments[0], 0.0, 0.0, 60.0, 32)


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an index"):
        GeoIndex.open(tmp_path)
    with pytest.raises(InputError, match="not an index"):
        verify_index(tmp_path)
    (tmp_path / "work").mkdir()
    with pytest.raises(InputError, match="unfinished"):
        GeoIndex.open(tmp_path)


def test_an_index_whose_pointer_is_gone_is_damaged(made_index: Path, tmp_path: Path) -> None:
    (tmp_path / "segments" / "s-0123456789abcdef").mkdir(parents=True)
    with pytest.raises(StoreError, match="CURRENT is missing"):
        GeoIndex.open(tmp_path)


def test_a_whole_index_has_no_problems(made_index: Path) -> None:
    assert verify_index(made_index) == []


def test_two_readers_of_one_index_live_side_by_side(made_index: Path) -> None:
    with GeoIndex.open(made_index) as one, GeoIndex.open(made_index) as two:
        one.close()
        assert two.covers(two.segments[0], 353500.0, 3057900.0)
