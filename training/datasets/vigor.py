"""VIGOR (Zhu et al. 2021): panoramas anywhere in aerials of four cities, each with one positive and up to three semi-positives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from crossgeo import geodesy
from crossgeo.errors import InputError
from crossgeo.training.datasets.paths import below, lines_of
from crossgeo.training.pairs import Aerial, Pair, PairSet, Point

Protocol = Literal["same", "cross"]
LAYOUTS: Mapping[Protocol, str] = {"same": "vigor", "cross": "vigor-cross"}
CITIES = ("NewYork", "Seattle", "SanFrancisco", "Chicago")
TRAIN_CITIES = ("NewYork", "Seattle")  # of the cross-area protocol; the other two are its test
PHOTO_PX, AERIAL_PX = (2048, 1024), (640, 640)
_SPLIT_FOLDERS = ("splits", "splits__corrected")
_WGS84 = geodesy.parse_crs("EPSG:4326")


def read_vigor(root: Path, protocol: Protocol = "same") -> PairSet:
    """Read the lists of the cities that are there: same-area, or cross-area (train on New York and Seattle, test on the others).

    Positions come from the files' names; the pixel size is zoom 20's at each latitude. Aerials that are no photo's positive come as
    distractors. Raises InputError for a missing list, a name without a position or an aerial that is on no list.
    """
    folder = next((root / name for name in _SPLIT_FOLDERS if (root / name).is_dir()), None)
    cities = [city for city in CITIES if folder is not None and (folder / city).is_dir()]
    if folder is None or not cities:
        raise InputError(f"{root}: no splits/<city>/; is this the VIGOR folder that holds {', '.join(CITIES)}?")
    pairs: list[Pair] = []
    rest: list[Aerial] = []
    for city in cities:
        more, unused = _read_city(root, folder, city, protocol)
        pairs += more
        rest += unused
    if not pairs:
        raise InputError(f"{folder}: the lists of VIGOR are empty; get them again")
    name = "VIGOR" if protocol == "same" else "VIGOR cross-area"
    return PairSet(name, LAYOUTS[protocol], root, tuple(pairs), tuple(rest), photo_px=PHOTO_PX, aerial_px=AERIAL_PX)


def _read_city(root: Path, folder: Path, city: str, protocol: Protocol) -> tuple[list[Pair], list[Aerial]]:
    listed = folder / city / "satellite_list.txt"
    names = [line for _, line in lines_of(listed)]
    lat_lons = np.array([_aerial_lat_lon(name, listed) for name in names], np.float64).reshape(-1, 2)
    if not names:
        return [], []
    crs = geodesy.metric_crs_at(*lat_lons.mean(axis=0))
    code = f"EPSG:{crs.to_epsg()}"
    x, y = geodesy.transform(_WGS84, crs, lat_lons[:, 1], lat_lons[:, 0])
    centres: dict[str, Point] = {name: (float(a), float(b)) for name, a, b in zip(names, x, y, strict=True)}
    gsds = dict(zip(names, geodesy.web_mercator_gsd_m(20, lat_lons[:, 0]).tolist(), strict=True))
    rows: list[tuple[str, list[str], str]] = []
    for split, path in _lists(folder / city, city, protocol):
        for number, line in lines_of(path):
            columns = line.split()
            aerials = columns[1::3]
            if len(columns) < 4 or any(name not in centres for name in aerials):
                raise InputError(f"{path}, line {number}: not a panorama with listed aerials and their offsets; get the list again")
            rows.append((columns[0], aerials, split))
    photos = np.array([_photo_lat_lon(name, folder / city) for name, _, _ in rows], np.float64).reshape(-1, 2)
    x, y = geodesy.transform(_WGS84, crs, photos[:, 1], photos[:, 0])
    pairs = [
        Pair(
            id=name.split(",")[0],
            photo=below(root, f"{city}/panorama/{name}", folder),
            aerial=below(root, f"{city}/satellite/{aerials[0]}", folder),
            split=split,
            heading_deg=0.0,
            fov_deg=360.0,
            xy=(float(a), float(b)),
            crs=code,
            aerial_gsd_m=gsds[aerials[0]],
            aerial_centre_xy=centres[aerials[0]],
            also=tuple(Path(other).stem for other in dict.fromkeys(aerials[1:]) if other != aerials[0]),
        )
        for (name, aerials, split), a, b in zip(rows, x, y, strict=True)
    ]
    used = {(split, aerials[0]) for _, aerials, split in rows}
    rest = [
        Aerial(Path(name).stem, below(root, f"{city}/satellite/{name}", listed), split, code, gsds[name], centres[name])
        for split in dict.fromkeys(split for _, _, split in rows)
        for name in names
        if (split, name) not in used
    ]
    return pairs, rest


def _lists(folder: Path, city: str, protocol: Protocol) -> list[tuple[str, Path]]:
    """Return (split, list) of a city; the corrected labels carry a suffix in some copies."""
    if protocol == "same":
        wanted = [("train", "same_area_balanced_train"), ("test", "same_area_balanced_test")]
    else:
        wanted = [("train" if city in TRAIN_CITIES else "test", "pano_label_balanced")]
    found = []
    for split, stem in wanted:
        path = next((p for p in (folder / f"{stem}.txt", folder / f"{stem}__corrected.txt") if p.is_file()), None)
        if path is None:
            raise InputError(f"{folder}: no {stem}.txt; get VIGOR's lists again")
        found.append((split, path))
    return found


def _photo_lat_lon(name: str, where: Path) -> tuple[float, float]:
    """Read `id,lat,lon,.jpg`."""
    parts = name.split(",")
    try:
        return _checked(float(parts[1]), float(parts[2]))
    except (IndexError, ValueError) as error:
        raise InputError(f"{where}: the panorama {name!r} names no place; VIGOR's are called id,lat,lon,.jpg") from error


def _aerial_lat_lon(name: str, where: Path) -> tuple[float, float]:
    """Read `satellite_lat_lon.png`."""
    parts = Path(name).stem.split("_")
    try:
        return _checked(float(parts[1]), float(parts[2]))
    except (IndexError, ValueError) as error:
        raise InputError(f"{where}: the aerial {name!r} names no place; VIGOR's are called satellite_lat_lon.png") from error


def _checked(lat: float, lon: float) -> tuple[float, float]:
    if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
        raise ValueError("not on the earth")
    return lat, lon
