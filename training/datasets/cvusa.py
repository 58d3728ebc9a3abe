"""CVUSA (Workman et al. 2015; the 19zl pairs of Zhai et al. 2017): Bing aerials and north-aligned street panoramas of the USA."""

from __future__ import annotations

from pathlib import Path

from crossgeo.errors import InputError
from crossgeo.training.datasets.paths import below, lines_of
from crossgeo.training.datasets.sidecar import read_sidecar
from crossgeo.training.pairs import Pair, PairSet

LISTS = {"train": "train-19zl.csv", "val": "val-19zl.csv"}
PHOTO_PX, AERIAL_PX = (1232, 224), (750, 750)
POLAR = "polarmap/19"


def read_cvusa(root: Path) -> PairSet:
    """Read `splits/{train,val}-19zl.csv` (or the two lists in the root itself); positions are known only in sets that crossgeo wrote.

    Raises InputError when a list is missing, cannot be read or is empty.
    """
    sidecar = read_sidecar(root)
    pairs: list[Pair] = []
    for split, name in LISTS.items():
        path = next((p for p in (root / "splits" / name, root / name) if p.is_file()), None)
        if path is None:
            raise InputError(f"{root}: no splits/{name}; is this the CVUSA folder that holds bingmap/ and streetview/?")
        for number, line in lines_of(path):
            columns = [column.strip() for column in line.split(",")]
            if len(columns) < 2:
                raise InputError(f"{path}, line {number}: {line!r} is not aerial,panorama,annotation; get the list again")
            aerial, photo = (below(root, column, path) for column in columns[:2])
            xy = sidecar.positions.get(photo.stem) if sidecar else None
            pairs.append(
                Pair(
                    id=photo.stem,
                    photo=photo,
                    aerial=aerial,
                    split=split,
                    heading_deg=0.0,
                    fov_deg=360.0,
                    xy=xy,
                    crs=sidecar.crs_at(photo.stem) if sidecar and xy else None,
                    aerial_gsd_m=sidecar.aerial_gsd_m if sidecar else None,
                    aerial_centre_xy=xy,
                )
            )
    if not pairs:
        raise InputError(f"{root}: the lists of CVUSA are empty; get them again")
    photo_px, aerial_px = (sidecar.photo_px, sidecar.aerial_px) if sidecar else (PHOTO_PX, AERIAL_PX)
    return PairSet("CVUSA", "cvusa", root, tuple(pairs), photo_px=photo_px, aerial_px=aerial_px)
