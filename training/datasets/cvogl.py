"""CVOGL (Sun et al. 2023, DetGeo): clicked objects, drone or street photo to satellite; and G2D (AttenGeo), street photo to drone view."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from crossgeo.errors import InputError
from crossgeo.training.datasets.paths import below
from crossgeo.training.datasets.sidecar import read_sidecar
from crossgeo.training.pairs import ObjectPair, ObjectSet, Point, Size, Task

FOLDERS: dict[Task, str] = {"drone": "CVOGL_DroneAerial", "street": "CVOGL_SVI"}
G2D_FOLDER = "CVOGL_G2D"
SPLITS = ("train", "val", "test")
PHOTO_PX: dict[Task, Size] = {"drone": (256, 256), "street": (512, 256)}
AERIAL_PX = (1024, 1024)
_PLACED = re.compile(r"(-?\d+)_(-?\d+)_(\d+)_(\d{4,6})\.\w+")


def read_cvogl(root: Path, task: Task) -> ObjectSet:
    """Read one task of CVOGL from its folder below `root` (or from that folder itself).

    Raises InputError for a missing or damaged list, or a row that is not CVOGL's tuple of eight.
    """
    return _read(root, FOLDERS[task], task, f"CVOGL {task}", f"cvogl-{task}", AERIAL_PX)


def read_g2d(root: Path) -> ObjectSet:
    """Read G2D: CVOGL's layout in the folder CVOGL_G2D, drone views in `satellite/`. The paper's own set was never released."""
    return _read(root, G2D_FOLDER, "street", "G2D", "g2d", None)


def placed(name: str) -> tuple[Point, float, str] | None:
    """Return what a satellite picture's name says: easting and northing of its middle, metres along its side, CRS; else None.

    `539827_4880079_300_32615.jpg`. That the point is the middle and 300 are metres is inferred: `geo data check` puts it to the test.
    """
    found = _PLACED.fullmatch(name)
    if found is None or int(found[3]) == 0:
        return None
    return (float(found[1]), float(found[2])), float(found[3]), f"EPSG:{int(found[4])}"


def _read(root: Path, folder_name: str, task: Task, name: str, layout: str, aerial_px: Size | None) -> ObjectSet:
    folder = root if root.name == folder_name else root / folder_name
    sidecar = read_sidecar(folder)
    photo_size, aerial_size = (sidecar.photo_px, sidecar.aerial_px) if sidecar else (PHOTO_PX[task], aerial_px)
    pairs: list[ObjectPair] = []
    for split in SPLITS:
        path = folder / f"{folder_name}_{split}.pth"
        for number, row in enumerate(_rows(path)):
            try:
                pairs.append(_pair(row, folder, path, split, task, (aerial_size or AERIAL_PX)[0]))
            except (TypeError, ValueError) as error:
                raise InputError(f"{path}, row {number}: not a tuple of CVOGL ({error}); get the list again") from error
    if not pairs:
        raise InputError(f"{folder}: the lists of {name} are empty; get them again")
    return ObjectSet(name, layout, root, tuple(pairs), photo_size, aerial_size)


def _rows(path: Path) -> list[Any]:
    import torch

    if not path.is_file():
        raise InputError(f"{path.parent}: no {path.name}; is this the folder of CVOGL's layout with query/ and satellite/?")
    try:
        rows = torch.load(path, map_location="cpu", weights_only=True)  # data alone: a pickle of a stranger runs nothing
    except Exception as error:  # torch's unpickler raises whatever damaged bytes lead to
        raise InputError(f"{path}: damaged, or holds more than plain lists ({type(error).__name__}); get it again") from error
    if not isinstance(rows, list):
        raise InputError(f"{path}: holds a {type(rows).__name__}, not a list; is this one of CVOGL's?")
    return rows


def _pair(row: Any, folder: Path, path: Path, split: str, task: Task, side_px: int) -> ObjectPair:
    name, photo, aerial, _click_512, click, box, quad, kind = row
    numbers = [float(v) for v in (*click, *box, *quad)]
    if len(click) != 2 or len(box) != 4 or len(quad) != 8 or not all(math.isfinite(v) for v in numbers):
        raise ValueError("the click should be 2 numbers, the box 4, the corners 8")
    where = placed(Path(aerial).name)
    crs = origin = gsd_m = None
    if where is not None:
        (x, y), side_m, crs = where
        origin, gsd_m = (x - side_m / 2, y + side_m / 2), side_m / side_px
    return ObjectPair(
        id=str(name),
        photo=below(folder, f"query/{photo}", path),
        aerial=below(folder, f"satellite/{aerial}", path),
        split=split,
        task=task,
        click_px=(numbers[0] + 0.5, numbers[1] + 0.5),  # the set names a pixel by its number, and its networks measure from that
        box_px=(numbers[2], numbers[3], numbers[4], numbers[5]),
        quad_px=tuple(numbers[6:]),
        kind=str(kind),
        aerial_crs=crs,
        aerial_origin_xy=origin,
        aerial_gsd_m=gsd_m,
    )
