"""Towns over real ground; a made town's orthophoto and footprints stand in for a real one."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from shapely import Point

from crossgeo import geodesy
from crossgeo.errors import InputError, LimitError, UsageError
from crossgeo.indexer.imagery import open_source
from crossgeo.town import memory
from crossgeo.town.aerial import render_ortho
from crossgeo.town.layout import Town
from crossgeo.town.plan import Material
from crossgeo.town.real import make_real_town
from crossgeo.town.real_write import write_real_town
from crossgeo.town.scene import Scene
from crossgeo.town.street_photo import render_panorama
from crossgeo.town.street_poses import draw_street_poses
from crossgeo.town.street_world import StreetWorld
from crossgeo.town.triangles import Kind
from crossgeo.town.write import write_ortho


@pytest.fixture(scope="module")
def files(town: Town, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("real")
    write_ortho(folder / "ortho.tif", town, render_ortho(town, Scene(noise=0.0, traffic_seed=5)), 0.2)
    features = []
    for item in town.objects:
        if item.kind == "building":
            ring = [town.to_lat_lon(float(x), float(y))[::-1] for x, y in item.corners]
            geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
            features.append({"type": "Feature", "properties": {"building:levels": "2"}, "geometry": geometry})
    (folder / "footprints.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return folder / "ortho.tif", folder / "footprints.geojson"


@pytest.fixture(scope="module")
def real(files: tuple[Path, Path]) -> Town:
    return make_real_town([files[0]], files[1], seed=4)


def _middle_half(town: Town) -> tuple[float, float, float, float]:
    south, west = town.to_lat_lon(5.0, 5.0)
    north, east = town.to_lat_lon(155.0, 110.0)
    return west, south, east, north


def test_the_buildings_are_the_footprints_and_stand_where_they_do(real: Town, town: Town) -> None:
    known = [item.footprint for item in town.objects if item.kind == "building"]
    assert len(real.objects) == len(known)
    shift = np.array(real.origin_xy) - town.origin_xy
    for item in real.objects:
        x, y = np.array(item.footprint.centroid.coords[0]) + shift
        assert any(outline.distance(Point(x, y)) < 0.5 for outline in known)
        assert item.height_m == pytest.approx(6.4)  # two floors, as tagged


def test_the_ground_is_the_orthophoto(real: Town, files: tuple[Path, Path]) -> None:
    x, y = real.to_crs(*real.objects[0].footprint.centroid.coords[0])
    with rasterio.open(files[0]) as ortho:
        row, column = ortho.index(x, y)
        expected = ortho.read(window=((row - 2, row + 3), (column - 2, column + 3))).mean((1, 2))
    gsd_m = real.layers.gsd_m
    r, c = int((real.origin_xy[1] + real.size_m - y) / gsd_m), int((x - real.origin_xy[0]) / gsd_m)
    assert np.abs(real.layers.albedo[r - 3 : r + 4, c - 3 : c + 4].mean((0, 1)) - expected).max() < 12.0


def test_street_photos_over_it_see_its_buildings(real: Town) -> None:
    world = StreetWorld(real)
    seen = 0
    for pose in draw_street_poses(real, 6, np.random.default_rng(1)):
        photo, hits = render_panorama(world, pose, Scene(), 64, 256, 1)
        assert photo.std() > 15.0
        for index in np.unique(hits.owner[hits.kind == Kind.BUILDING]):
            mask = (hits.kind == Kind.BUILDING) & (hits.owner == index)
            x0, y0, x1, y1 = real.buildings[int(index)].outline.bounds
            assert (hits.x[mask] > x0 - 0.1).all() and (hits.x[mask] < x1 + 0.1).all()
            assert (hits.y[mask] > y0 - 0.1).all() and (hits.y[mask] < y1 + 0.1).all()
            seen += 1
    assert seen > 10


def test_cameras_stand_on_open_ground_among_known_houses(real: Town) -> None:
    for pose in draw_street_poses(real, 40, np.random.default_rng(2)):
        column, row = int(pose.x / real.layers.gsd_m), int((real.size_m - pose.y) / real.layers.gsd_m)
        assert real.layers.ground_material[row, column] == Material.ROAD
        assert real.valid is not None
        assert real.valid[row, column]


def test_nothing_past_the_bounds_gets_in(files: tuple[Path, Path], town: Town) -> None:
    part = make_real_town([files[0]], files[1], _middle_half(town))
    west, south, east, north = _middle_half(town)
    assert part.objects
    for item in part.objects:
        for x, y in item.corners:
            lat, lon = part.to_lat_lon(float(x), float(y))
            assert west - 3e-6 < lon < east + 3e-6
            assert south - 3e-6 < lat < north + 3e-6
    assert part.valid is not None
    rows, columns = np.nonzero(part.valid)
    gsd_m = part.layers.gsd_m
    assert len(rows) * gsd_m**2 > 5000.0
    for k in range(0, len(rows), 5000):
        lat, lon = part.to_lat_lon(float((columns[k] + 0.5) * gsd_m), float(part.size_m - (rows[k] + 0.5) * gsd_m))
        assert west - 3e-6 < lon < east + 3e-6
        assert south - 3e-6 < lat < north + 3e-6
    outside = part.layers.albedo[~part.valid]
    assert len(outside) and (outside == outside[0]).all()


def test_a_seed_guesses_the_same_town_again(files: tuple[Path, Path], real: Town) -> None:
    again, other = make_real_town([files[0]], files[1], seed=4), make_real_town([files[0]], files[1], seed=5)
    assert again.buildings == real.buildings
    assert again.trees == real.trees
    assert [b.wall_rgb for b in other.buildings] != [b.wall_rgb for b in real.buildings]


def test_the_written_folder_holds_imagery_that_ends_at_the_bounds(files: tuple[Path, Path], town: Town, tmp_path: Path) -> None:
    written = write_real_town(tmp_path / "t", [files[0]], files[1], _middle_half(town), panoramas=1, street=1)
    names = {"ortho.tif", "panoramas", "street", "street.geojson", "street_objects.geojson", "town.json"}
    assert {p.name for p in (tmp_path / "t").iterdir()} == names
    source = open_source(tmp_path / "t" / "ortho.tif")
    rgb, valid = source.read(written.crs, source.bounds, (200, 200))
    source.close()
    assert 0.3 < valid.mean() < 0.9
    assert rgb[valid].std() > 10.0
    about = json.loads((tmp_path / "t" / "town.json").read_text())
    assert about["real_ground"] is True
    lat, lon = json.loads((tmp_path / "t" / "street.geojson").read_text())["features"][0]["geometry"]["coordinates"][::-1]
    x, y = geodesy.from_lat_lon(written.crs, lat, lon)
    assert 0.0 < x - written.origin_xy[0] < written.size_m
    assert 0.0 < y - written.origin_xy[1] < written.size_m


def test_ground_that_fits_without_its_street_photos_alone_is_refused(
    files: tuple[Path, Path], real: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = memory.BYTES_PER_PIXEL * real.layers.height.size + 2e8
    monkeypatch.setattr(memory, "free_bytes", lambda: (least + 0.5 * memory.STREET_BYTES_PER_M2 * real.size_m**2) / 0.9)
    memory.check_memory(real.size_m, real.layers.gsd_m)
    with pytest.raises(LimitError, match="of memory"):
        make_real_town([files[0]], files[1], seed=4)


def test_footprints_elsewhere_and_empty_files_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    away = {"type": "Polygon", "coordinates": [[(10.0, 10.0), (10.001, 10.0), (10.001, 10.001), (10.0, 10.0)]]}
    (tmp_path / "away.geojson").write_text(json.dumps({"features": [{"properties": {}, "geometry": away}]}))
    with pytest.raises(InputError, match="do not lie on the imagery"):
        make_real_town([files[0]], tmp_path / "away.geojson")
    (tmp_path / "empty.geojson").write_text('{"features": []}')
    with pytest.raises(InputError, match="holds no polygons"):
        make_real_town([files[0]], tmp_path / "empty.geojson")
    (tmp_path / "broken.geojson").write_text("no json")
    with pytest.raises(InputError, match="not GeoJSON"):
        make_real_town([files[0]], tmp_path / "broken.geojson")
    (tmp_path / "odd.geojson").write_text('{"features": [{"geometry": null}, {"geometry": {"type": "Square", "coordinates": [1]}}]}')
    with pytest.raises(InputError, match="feature 1 has no geometry"):
        make_real_town([files[0]], tmp_path / "odd.geojson")
    with pytest.raises(InputError, match=r"nope\.geojson: no such file"):
        make_real_town([files[0]], tmp_path / "nope.geojson")
    with pytest.raises(UsageError, match="holds no footprint"):
        make_real_town([files[0]], files[1], (0.0, 0.0, 1.0, 1.0))
