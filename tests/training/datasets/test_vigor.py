"""VIGOR: positives, semi-positives, distractors and both protocols."""

from pathlib import Path

import pytest

from crossgeo import geodesy
from crossgeo.errors import InputError
from crossgeo.training.datasets.vigor import read_vigor

LAT, LON = 41.8800, -87.6300


def aerial(number: int, lat: float = LAT, lon: float = LON) -> str:
    return f"satellite_{lat + 0.0003 * number:.6f}_{lon:.6f}.png"


def write_city(root: Path, city: str, lat: float = LAT, lon: float = LON) -> None:
    """Write the lists of a city: five aerials, one training photo, one test photo."""
    folder = root / "splits" / city
    folder.mkdir(parents=True)
    names = [aerial(n, lat, lon) for n in range(5)]
    (folder / "satellite_list.txt").write_text("\n".join(names) + "\n")
    train = f"{city}A,{lat + 0.0001:.6f},{lon:.6f},.jpg {names[0]} 10.5 -3.0 {names[1]} 1 2 {names[2]} 3 4 {names[0]} 0 0\n"
    test = f"{city}B,{lat + 0.0003:.6f},{lon:.6f},.jpg {names[1]} 0 0 {names[0]} 1 2 {names[2]} 3 4 {names[3]} 5 6\n"
    (folder / "same_area_balanced_train.txt").write_text(train)
    (folder / "same_area_balanced_test.txt").write_text(test)
    (folder / "pano_label_balanced.txt").write_text(train + test)


def test_a_line_is_a_photo_with_its_positive_and_semi_positives(tmp_path: Path) -> None:
    write_city(tmp_path, "Chicago")
    pair = read_vigor(tmp_path).split("train").pairs[0]
    assert pair.id == "ChicagoA"
    assert pair.photo == tmp_path / "Chicago" / "panorama" / "ChicagoA,41.880100,-87.630000,.jpg"
    assert pair.aerial == tmp_path / "Chicago" / "satellite" / aerial(0)
    assert pair.aerial_id == Path(aerial(0)).stem
    assert pair.also == (Path(aerial(1)).stem, Path(aerial(2)).stem)  # the positive, named again to fill the line, is not among them
    assert (pair.heading_deg, pair.fov_deg) == (0.0, 360.0)


def test_places_come_from_the_names_in_the_citys_utm_zone(tmp_path: Path) -> None:
    write_city(tmp_path, "Chicago")
    pair = read_vigor(tmp_path).split("train").pairs[0]
    assert pair.crs == "EPSG:32616"
    assert pair.xy is not None
    assert pair.aerial_centre_xy is not None
    assert pair.xy == pytest.approx(geodesy.from_lat_lon(geodesy.parse_crs("EPSG:32616"), LAT + 0.0001, LON), abs=1e-6)
    assert pair.xy[1] - pair.aerial_centre_xy[1] == pytest.approx(11.1, abs=0.05)  # 0.0001 degrees north
    assert pair.aerial_gsd_m == pytest.approx(0.111, abs=5e-4)  # SliceMatch's figure for Chicago


def test_aerials_that_are_no_photos_positive_are_distractors_of_each_split(tmp_path: Path) -> None:
    write_city(tmp_path, "Chicago")
    found = read_vigor(tmp_path)
    assert [a.id for a in found.split("test").distractors] == [Path(aerial(n)).stem for n in (0, 2, 3, 4)]
    assert [a.id for a in found.split("train").distractors] == [Path(aerial(n)).stem for n in (1, 2, 3, 4)]


def test_cross_area_trains_and_tests_in_different_cities(tmp_path: Path) -> None:
    write_city(tmp_path, "Chicago")
    write_city(tmp_path, "Seattle", 47.6, -122.33)
    found = read_vigor(tmp_path, "cross")
    assert [pair.id for pair in found.split("train")] == ["SeattleA", "SeattleB"]
    assert [pair.id for pair in found.split("test")] == ["ChicagoA", "ChicagoB"]
    assert {pair.crs for pair in found.split("train")} == {"EPSG:32610"}


def test_corrected_labels_are_found_under_their_own_names(tmp_path: Path) -> None:
    write_city(tmp_path, "Chicago")
    (tmp_path / "splits").rename(tmp_path / "splits__corrected")
    for path in list((tmp_path / "splits__corrected" / "Chicago").glob("same*.txt")):
        path.rename(path.with_name(f"{path.stem}__corrected.txt"))
    assert len(read_vigor(tmp_path)) == 2


@pytest.mark.parametrize("line", ["x.jpg", f"x,1,2,.jpg {aerial(9)} 0 0", f"x.jpg {aerial(0)} 0 0", f"x,91,2,.jpg {aerial(0)} 0 0"])
def test_a_line_that_is_none_of_vigors_is_refused(tmp_path: Path, line: str) -> None:
    write_city(tmp_path, "Chicago")
    (tmp_path / "splits" / "Chicago" / "same_area_balanced_train.txt").write_text(line)
    with pytest.raises(InputError, match="Chicago"):
        read_vigor(tmp_path)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    write_city(tmp_path, "Chicago")
    (tmp_path / "splits" / "Chicago" / "same_area_balanced_test.txt").unlink()
    with pytest.raises(InputError, match="same_area_balanced_test"):
        read_vigor(tmp_path)
