"""Rows spread over actors: the answers of one process, few areas asked, and what is said where some do not answer."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from gated_cluster import GatedActor
from pyproj import CRS
from rasterio.transform import from_origin

from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.serving import replica
from crossgeo.engine.serving.shelf import ShardOptions
from crossgeo.errors import ClusterError, StoreError, UsageError
from crossgeo.geodesy import grid_convergence_deg, to_lat_lon
from crossgeo.indexer.add import AddOptions, add_to_index
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex

UTM = CRS.from_epsg(32645)
X, Y = 363_147.0, 3_057_452.0
HERE = to_lat_lon(UTM, X, Y)
CAMERA: dict[str, Any] = {"fov_deg": 70.0, "height_m": 95.0 / 2.0 / math.tan(math.radians(35.0))}
HEADING: dict[str, Any] = {**CAMERA, "heading_deg": 30.0 + grid_convergence_deg(UTM, X, Y)}
NEAR: dict[str, Any] = {"near": HERE, "radius_m": 25.0}


@pytest.fixture
def photo(ground: Any) -> Photo:
    taken: Photo = ground.photo(X, Y, 30.0, 95.0)
    return taken


def said(answer: Answer) -> dict[str, Any]:
    """An answer but for its timings."""
    return {**answer.to_json(), "timings_ms": None}


def until(true: Callable[[], object], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["plain", "dense", "street"])
def test_all_kinds_of_question_are_answered_as_by_one_process(
    kind: str, index_path: Path, spread: Any, photo: Photo, ground: Any, make_describer: Any, dense: Any, street_search: GeoSearch
) -> None:
    def opened(index: GeoIndex) -> GeoSearch:
        if kind == "street":
            return GeoSearch(index, dense, street=street_search.matchers["street"].describer)
        return GeoSearch(index, make_describer() if kind == "plain" else dense)

    west, south, east, north = HERE[1] - 0.0005, HERE[0] - 0.0004, HERE[1] + 0.0005, HERE[0] + 0.0006
    polygon = {"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, south]]]}
    questions: list[dict[str, Any]] = [HEADING, {**HEADING, **NEAR}, {**HEADING, "bounds": (west, south, east, north), "top": 3}]
    questions += [{**HEADING, "polygon": polygon}, {**HEADING, "near": (0.0, 0.0)}]
    if kind == "plain":
        questions.append(CAMERA)
    if kind == "street":
        questions = [{"kind": "street", "heading_deg": 30.0, "fov_deg": 90.0, **NEAR}]
    there = spread(index_path, opened)
    assert len(there.rows.areas) > 4
    with opened(GeoIndex.open(index_path)) as here:
        for question in questions:
            want, found = here.query(photo, **question), there.search.query(photo, **question)
            assert said(found) == said(want)
            assert found.partial == ()
            assert [(a.score, a.lat, a.lon) for a in found.places] == [(b.score, b.lat, b.lon) for b in want.places], "to the last bit"


@pytest.fixture
def two_zones(tmp_path: Path, make_describer: Any, make_patchwork: Any) -> Path:
    """An index of two segments, one of which lies in two folders."""
    describer, how = make_describer(), {"driver": "GTiff", "count": 3, "dtype": "uint8"}
    for name, epsg, west, side in (("a", 32645, 363_000.0, 300), ("b", 32737, 527_000.0, 200), ("c", 32645, 363_030.0, 160)):
        rgb = make_patchwork(len(name) + epsg + side, side)
        where = {"crs": f"EPSG:{epsg}", "transform": from_origin(west, 3_057_600.0, 0.5, 0.5), "width": side, "height": side}
        with rasterio.open(tmp_path / f"{name}.tif", "w", **how, **where) as file:
            file.write(rgb.transpose(2, 0, 1))
    made = describer.tiles, describer.identity
    build_index([tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "both.geo", *made, BuildOptions(gsd_m=0.5, tile_px=96))
    add_to_index([tmp_path / "c.tif"], tmp_path / "both.geo", *made, AddOptions(over=True))
    return tmp_path / "both.geo"


def test_several_segments_and_folders_are_searched_as_by_one_process(two_zones: Path, spread: Any, make_describer: Any) -> None:
    with GeoIndex.open(two_zones) as here:
        assert len(here.segments) == 2
        assert max(len(zone.parts) for zone in here.zones) == 2
        there = spread(two_zones, lambda index: GeoSearch(index, make_describer()), tiles=30).search.index
        rng = np.random.default_rng(0)
        queries = here.descriptors(rng.integers(len(here), size=9)) + 0.1 * rng.standard_normal((9, here.manifest.dim)).astype(np.float32)
        for ids in (None, [5], rng.choice(len(here), 100, replace=False), np.arange(len(here)), []):
            for k in (1, 40, 10_000):
                for found, want in zip(there.search(queries, k, ids), here.search(queries, k, ids), strict=True):
                    np.testing.assert_array_equal(found, want)
        some = rng.integers(len(here), size=70)
        np.testing.assert_array_equal(there.descriptors(some), here.descriptors(some))
        np.testing.assert_array_equal(there.ids_near(*HERE, 40.0), here.ids_near(*HERE, 40.0))
        np.testing.assert_array_equal(there.centres, here.centres)


def test_a_prior_asks_only_the_areas_about_it(index_path: Path, spread: Any, photo: Photo, make_describer: Any) -> None:
    there = spread(index_path, lambda index: GeoSearch(index, make_describer()), tiles=25)
    there.asked()
    assert there.search.query(photo, **HEADING).status == "located"
    assert there.asked() == set(range(len(there.rows.areas)))
    assert there.search.query(photo, **HEADING, near=HERE, radius_m=10.0).status == "located"
    few = there.asked()
    assert 0 < len(few) <= len(there.rows.areas) // 2
    for number in set(range(len(there.rows.areas))) - few:
        for actor in there.actors(number):
            actor.kill()
    complete = there.search.query(photo, **HEADING, near=HERE, radius_m=10.0)
    assert (complete.status, complete.partial) == ("located", ()), "what a filter leaves out may be missing"


def test_the_death_of_a_replica_changes_no_answer(index_path: Path, spread: Any, photo: Photo, make_describer: Any) -> None:
    there = spread(index_path, lambda index: GeoSearch(index, make_describer()))
    want = said(there.search.query(photo, **HEADING))
    for number in range(len(there.rows.areas)):
        one, two = there.actors(number)
        assert one.node != two.node
        (one, two)[number % 2].kill()
    assert said(there.search.query(photo, **HEADING)) == want
    metrics = there.search.metrics()["shards"]
    assert (metrics["replicas"], metrics["shards_alive"], metrics["partial"]) == (2 * metrics["shards"], metrics["shards"], 0)
    until(lambda: there.search.metrics()["shards"]["replicas_alive"] == metrics["shards"])
    assert "died" in there.search.metrics()["shards"]["trouble"]
    for number in range(len(there.rows.areas)):
        there.actors(number)[number % 2].come_back()
    until(lambda: there.search.metrics()["shards"]["replicas_alive"] == metrics["replicas"])
    assert there.search.metrics()["shards"]["trouble"] is None


def test_an_area_that_nobody_holds_is_said_and_no_place_is_believed(
    index_path: Path, spread: Any, photo: Photo, make_describer: Any
) -> None:
    there = spread(index_path, lambda index: GeoSearch(index, make_describer()), deadline_s=0.3)
    want = there.search.query(photo, **HEADING)
    number = int(there.rows._area_of[want.places[0].tile])
    other = (number + len(there.rows.areas) // 2) % len(there.rows.areas)
    for actor in there.actors(other):
        actor.kill()
    answer = there.search.query(photo, **HEADING, point=(100.0, 75.0))
    assert want.status == "located"
    assert answer.status == "low_confidence", "the missing area may hold a place that fits better"
    assert [(place.tile, place.probability) for place in answer.places[:1]] == [(want.places[0].tile, None)]
    assert (answer.partial, answer.found) == ((there.rows.areas[other].bounds,), None)
    assert any("answered in time" in note for note in answer.notes)
    assert answer.to_json()["partial"] == [[round(edge, 6) for edge in there.rows.areas[other].bounds]]
    assert there.search.metrics()["shards"]["partial"] == 1
    for actor in there.actors(number):
        actor.kill()
    nowhere = there.search.query(photo, **HEADING, near=HERE, radius_m=5.0)
    assert number in {there.rows.areas.index(area) for area in there.rows.areas if area.bounds in nowhere.partial}
    assert nowhere.status != "located"
    assert nowhere.places == () or nowhere.places[0].tile not in there.rows.areas[number].ids
    for area in range(len(there.rows.areas)):
        for actor in there.actors(area):
            actor.kill()
    nothing = there.search.query(photo, **HEADING)
    assert (nothing.status, nothing.places, len(nothing.partial)) == ("outside_coverage", (), len(there.rows.areas))
    assert "its place may lie there" in " ".join(nothing.notes)
    with pytest.raises(ClusterError, match="ask again"):
        _unquestioned(there, 0.2)
    for actor in there.cluster.actors:
        if not actor.closed:
            actor.come_back()
    until(lambda: there.search.metrics()["shards"]["replicas_alive"] == there.search.metrics()["shards"]["replicas"])
    assert said(there.search.query(photo, **HEADING)) == said(want), "whole again"


def _unquestioned(there: Any, within_s: float) -> None:
    """Ask outside of a question, where all must answer."""
    from crossgeo.engine.serving import rows

    patient, rows._PATIENT_S = rows._PATIENT_S, within_s
    try:
        there.search.index.search(np.zeros((1, there.search.index.manifest.dim), np.float32), 1)
    finally:
        rows._PATIENT_S = patient


def test_a_slow_replica_is_not_waited_for(index_path: Path, spread: Any, photo: Photo, make_describer: Any) -> None:
    there = spread(index_path, lambda index: GeoSearch(index, make_describer()), tiles=200, deadline_s=6.0)
    want = said(there.search.query(photo, **HEADING))
    for number in range(len(there.rows.areas)):
        there.actors(number)[0].stop()
    for _ in range(3):  # whichever is asked first
        assert said(there.search.query(photo, **HEADING)) == want
    metrics = there.search.metrics()["shards"]
    assert metrics["hedged"] >= 1
    assert metrics["partial"] == 0
    until(lambda: there.search.metrics()["shards"]["replicas_alive"] == metrics["shards"])
    before = there.search.metrics()["shards"]["hedged"]
    assert said(there.search.query(photo, **HEADING)) == want
    assert there.search.metrics()["shards"]["hedged"] == before, "one that is known to be slow is asked last"
    for number in range(len(there.rows.areas)):
        there.actors(number)[0].go_on()
    until(lambda: there.search.metrics()["shards"]["replicas_alive"] == metrics["replicas"])
    assert said(there.search.query(photo, **HEADING)) == want


def test_a_search_waits_for_the_deadline_and_no_longer_and_once_a_question(index_path: Path, spread: Any, photo: Photo, dense: Any) -> None:
    there = spread(index_path, lambda index: GeoSearch(index, dense), tiles=200, deadline_s=0.5)
    for actor in there.actors(0):
        actor.stop()
    searches = there.shelf.counts.missed
    answer = there.search.query(photo, **HEADING)
    assert len(answer.partial) == 1
    assert answer.status in ("low_confidence", "outside_coverage")
    assert there.shelf.counts.missed == searches + 1, "an area that was missing once is not waited for again by the same question"


def test_rows_that_come_back_late_are_missing_for_the_rest_of_the_question(index_path: Path, spread: Any, make_describer: Any) -> None:
    there = spread(index_path, lambda index: GeoSearch(index, make_describer()), tiles=200, deadline_s=0.2)
    rows, ids = there.rows, np.array([there.rows.areas[0].ids[3], there.rows.areas[1].ids[4]])
    for actor in there.actors(0):
        actor.stop()
    with rows.question():
        assert rows.missing() == ()
        found = rows.descriptors(ids)
        assert rows.missing() == (rows.areas[0].bounds,)
        for actor in there.actors(0):
            actor.go_on()
        others = [tile for area in rows.areas[1:] for tile in area.ids.tolist()]
        assert sorted(rows.search(found[1:], 1000, None)[1][0].tolist()) == sorted(others)
        other: list[Any] = []
        thread = threading.Thread(target=lambda: other.append(rows.missing()))
        thread.start()
        thread.join()
    assert not found[0].any()
    assert found[1].any()
    assert other == [()], "a question is its thread's"
    until(lambda: there.search.metrics()["shards"]["shards_alive"] == len(rows.areas))
    with rows.question():
        assert rows.descriptors(ids).any(axis=1).all()


def test_cells_whose_rows_are_missing_are_described_anew(index_path: Path, spread: Any, make_describer: Any) -> None:
    there = spread(index_path, lambda index: GeoSearch(index, make_describer()), tiles=500, deadline_s=0.1)
    cells, segment = there.search.matchers["drone"].fine.cells, there.search.index.segments[0]
    tile = there.search.index.centres[30]
    cell = (round(tile[0] / 5.0), round(tile[1] / 5.0))
    want = there.search.index.descriptors([30])[0]
    for actor in there.actors(0):
        actor.stop()
    with there.rows.question():
        made = cells.describe(segment, [cell])[cell]
    assert cells.from_index == 0
    assert made is not None
    np.testing.assert_allclose(made, want, atol=1e-5)


def test_a_replica_that_fails_for_long_is_replaced(
    index_path: Path, spread: Any, photo: Photo, make_describer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "FAILING_S", 0.2)
    there = spread(index_path, lambda index: GeoSearch(index, make_describer()), tiles=500)
    one, two = there.actors(0)
    one.kill()
    until(lambda: one.closed)
    until(lambda: there.search.metrics()["shards"]["replicas_alive"] == 2)
    assert len(there.actors(0)) == 2
    assert two in there.actors(0)
    assert there.search.query(photo, **HEADING).status == "located"


def test_what_no_other_try_mends_is_raised_when_it_is_opened(index_path: Path, tmp_path: Path, spread: Any, make_describer: Any) -> None:
    path = tmp_path / "spoiled.geo"
    shutil.copytree(index_path, path)
    (stored,) = path.rglob("descriptors.h5")
    data = bytearray(stored.read_bytes())
    with GeoIndex.open(path) as index:
        row = index.descriptors([7])[0].tobytes()
    data[data.index(row)] ^= 1
    stored.write_bytes(data)
    with pytest.raises(StoreError, match=r"one: .*descriptors\.h5"):
        spread(path, lambda index: GeoSearch(index, make_describer()))
    for wrong in ({"tiles": 0}, {"replicas": 0}, {"deadline_s": 0.0}, {"deadline_s": math.nan}):
        with pytest.raises(UsageError, match="more than nothing"):
            ShardOptions(**wrong)


def test_an_area_that_cannot_be_opened_in_time_is_said(
    index_path: Path, spread: Any, make_describer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GatedActor, "call", lambda self, do, *args: Future())
    with pytest.raises(ClusterError, match=r"was not opened within 0\.2 s"):
        spread(index_path, lambda index: GeoSearch(index, make_describer()), start_s=0.2)
