"""CVACT (Liu & Li 2019): panoramas and aerials of Canberra with positions, in train, val and the dense test part of 5 m steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossgeo import geodesy
from crossgeo.errors import InputError
from crossgeo.training.datasets.sidecar import read_sidecar
from crossgeo.training.pairs import Pair, PairSet

Part = Literal["train", "val", "test"]
MAT = "ACT_data.mat"
INDICES: dict[Part, tuple[str, str]] = {
    "train": ("trainSet", "trainInd"), "val": ("valSet", "valInd"), "test": ("valSetAll", "valInd"),
}  # fmt: skip
FOLDERS: dict[Part, str] = {"train": "ANU_data_small", "val": "ANU_data_small", "test": "ANU_data_test"}
PHOTO_PX, AERIAL_PX = (1664, 832), (1200, 1200)
_CANBERRA = "EPSG:32755", (-35.7, -34.9), (148.7, 149.6)  # its UTM zone, and where lat and lon must lie for that to be believed


def photo_path(root: Path, part: Part, name: str) -> Path:
    """Return where the panorama of an id lies."""
    return root / FOLDERS[part] / "streetview" / f"{name}_grdView.jpg"


def aerial_path(root: Path, part: Part, name: str) -> Path:
    """Return where the aerial of an id lies."""
    return root / FOLDERS[part] / "satview_polish" / f"{name}_satView_polish.jpg"


def read_cvact(root: Path, part: Part | None = None) -> PairSet:
    """Read one part, or all whose folder of pictures is there; `val` is a part of `test`, whose pictures lie in a folder of their own.

    Positions stay float64: float32 is off by half a metre. Raises InputError for a missing or damaged ACT_data.mat, an index out of range,
    or a part without its folder.
    """
    data = _load(root / MAT)
    ids, xy = _ids(data, root / MAT), _positions(data, root / MAT)
    if len(ids) != len(xy):
        raise InputError(f"{root / MAT}: {len(ids)} panoIds and {len(xy)} positions; get the file again")
    parts = [part] if part else [p for p in INDICES if (root / FOLDERS[p]).is_dir()]
    if not parts or not (root / FOLDERS[parts[0]]).is_dir():
        wanted = FOLDERS[part] if part else "ANU_data_small nor ANU_data_test"
        raise InputError(f"{root}: no {wanted} beside {MAT}; unpack the pictures there")
    sidecar = read_sidecar(root)
    canberra, gsds = (None, None) if sidecar else _canberra(xy)
    pairs: list[Pair] = []
    for name in parts:
        for index in _indices(data, name, len(ids), root / MAT):
            at = (float(xy[index, 0]), float(xy[index, 1]))
            gsd_m = sidecar.aerial_gsd_m if sidecar else None if gsds is None else float(gsds[index])
            crs = sidecar.crs_at(ids[index]) if sidecar else canberra
            photo, aerial = photo_path(root, name, ids[index]), aerial_path(root, name, ids[index])
            pairs.append(Pair(ids[index], photo, aerial, name, 0.0, 360.0, at, crs, gsd_m, at))
    if not pairs:
        raise InputError(f"{root / MAT}: no pairs in {', '.join(parts)}; get the file again")
    photo_px, aerial_px = (sidecar.photo_px, sidecar.aerial_px) if sidecar else (PHOTO_PX, AERIAL_PX)
    return PairSet("CVACT", "cvact", root, tuple(pairs), photo_px=photo_px, aerial_px=aerial_px)


def matlab_io() -> Any:
    """Return scipy.io; raise InputError where scipy is not installed."""
    try:
        import scipy.io
    except ImportError as error:
        raise InputError(f"{MAT} of CVACT is a MATLAB file, which needs scipy: pip install 'crossgeo[train]'") from error
    return scipy.io


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path.parent}: no {MAT}; is this the CVACT folder?")
    reader = matlab_io()
    try:
        content: dict[str, Any] = reader.loadmat(path, simplify_cells=True)
    except Exception as error:  # scipy's parser raises whatever damaged bytes lead to
        raise InputError(f"{path}: damaged, or not a MATLAB 5 file ({error}); get it again") from error
    missing = [name for name in ("panoIds", "utm", "trainSet", "valSet", "valSetAll") if name not in content]
    if missing:
        raise InputError(f"{path}: no {', '.join(missing)} in it; is this CVACT's {MAT}?")
    return content


def _ids(data: dict[str, Any], path: Path) -> list[str]:
    ids = [str(name).strip() for name in np.atleast_1d(data["panoIds"]).ravel()]
    bad = next((name for name in ids if not name or "/" in name or "\\" in name or ".." in name), None)
    if bad is not None:
        raise InputError(f"{path}: {bad!r} among panoIds is no file name; get the file again")
    return ids


def _positions(data: dict[str, Any], path: Path) -> NDArray[np.float64]:
    xy = np.atleast_2d(np.asarray(data["utm"], np.float64))
    if xy.shape[1] != 2 or not np.isfinite(xy).all():
        raise InputError(f"{path}: utm is {xy.shape}, with {np.sum(~np.isfinite(xy))} values that are no numbers; it should be N x 2")
    return xy


def _indices(data: dict[str, Any], part: Part, count: int, path: Path) -> list[int]:
    group, name = INDICES[part]
    try:
        found = np.asarray(data[group][name]).ravel()
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no {group}.{name} in it; is this CVACT's {MAT}?") from error
    if len(found) and (found.dtype.kind not in "iuf" or found.min() < 1 or found.max() > count):
        raise InputError(f"{path}: {group}.{name} has indices outside of 1..{count}; get the file again")
    return [int(index) - 1 for index in found]  # MATLAB counts from 1


def _canberra(xy: NDArray[np.float64]) -> tuple[str | None, NDArray[np.float64] | None]:
    """Return the CRS, which the file does not name, and the pixel size of the zoom-20 aerials; None where the places are not Canberra's."""
    name, lats, lons = _CANBERRA
    lon, lat = geodesy.transform(geodesy.parse_crs(name), geodesy.parse_crs("EPSG:4326"), xy[:, 0], xy[:, 1])
    inside = (lat > lats[0]) & (lat < lats[1]) & (lon > lons[0]) & (lon < lons[1])
    return (name, geodesy.web_mercator_gsd_m(20, lat)) if inside.all() else (None, None)
