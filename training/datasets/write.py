"""Writing records in the layouts of CVUSA, CVACT, CVOGL and G2D, so that what reads the public sets reads these too (docs/formats.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crossgeo.errors import InputError
from crossgeo.indexer.files import new_folder
from crossgeo.kernels.polar import polar_transform
from crossgeo.training.datasets import cvact, cvogl, cvusa
from crossgeo.training.datasets.records import ObjectRecord, PanoramaRecord
from crossgeo.training.datasets.sidecar import Sidecar, write_sidecar
from crossgeo.training.datasets.writing import Kept, save
from crossgeo.training.pairs import Point, Task
from crossgeo.training.saving import save_archive

WRITTEN = "written by crossgeo"
_CVACT_PARTS: Mapping[str, tuple[cvact.Part, ...]] = {"train": ("train",), "val": ("val", "test"), "test": ("test",)}


def write_cvusa(rows: Iterable[PanoramaRecord], root: Path, source: str = WRITTEN) -> int:
    """Write pairs of the splits `train` and `val`, polar pictures too, to a new folder that appears once it is whole; return how many.

    `source` says in words what the pictures are. Raises InputError for records that do not fit the layout or each other, or a folder that
    exists; LimitError when the disk does not take it.
    """
    kept = Kept("CVUSA", tuple(cvusa.LISTS))
    lines: dict[str, list[str]] = {split: [] for split in cvusa.LISTS}
    positions: dict[str, Point] = {}
    systems: dict[str, str] = {}
    with new_folder(root, "data set") as folder:
        for row in rows:
            kept.add(row, row.panorama, row.aerial_gsd_m)
            aerial, photo = f"bingmap/19/{row.id}.jpg", f"streetview/panos/{row.id}.jpg"
            save(folder / aerial, row.aerial)
            save(folder / photo, row.panorama)
            save(folder / cvusa.POLAR / f"{row.id}.png", unroll(row.aerial))
            lines[row.split].append(f"{aerial},{photo},streetview/annotations/{row.id}.png\n")
            positions[row.id], systems[row.id] = row.xy, row.crs
        photo_px, aerial_px, gsd_m = kept.shared
        (folder / "splits").mkdir()
        for split, name in cvusa.LISTS.items():
            (folder / "splits" / name).write_text("".join(lines[split]), encoding="utf-8")
        write_sidecar(folder, Sidecar("cvusa", source, photo_px, aerial_px, None, gsd_m, positions).with_crs(systems))
    return len(positions)


def write_cvact(rows: Iterable[PanoramaRecord], root: Path, source: str = WRITTEN) -> int:
    """Write pairs of `train`, `val` and `test` as `write_cvusa` does; `val` belongs to the test as well.

    The test is dense, a panorama every 5 m of street, where the rows are. Positions go into ACT_data.mat in float64.
    """
    kept = Kept("CVACT", tuple(_CVACT_PARTS))
    ids: list[str] = []
    splits: list[str] = []
    utm: list[Point] = []
    systems: dict[str, str] = {}
    with new_folder(root, "data set") as folder:
        for row in rows:
            kept.add(row, row.panorama, row.aerial_gsd_m)
            if ids and len(row.id) != len(ids[0]):
                raise InputError(f"{row.id}: the ids of CVACT have one length, and {ids[0]} another; fill them up with zeros")
            for part in _CVACT_PARTS[row.split]:
                save(cvact.photo_path(folder, part, row.id), row.panorama)
                save(cvact.aerial_path(folder, part, row.id), row.aerial)
            ids.append(row.id)
            splits.append(row.split)
            utm.append(row.xy)
            systems[row.id] = row.crs
        photo_px, aerial_px, gsd_m = kept.shared
        for name in cvact.FOLDERS.values():
            (folder / name).mkdir(exist_ok=True)
        _save_mat(folder / cvact.MAT, np.array(ids), np.array(utm, np.float64), np.array(splits))
        write_sidecar(folder, Sidecar("cvact", source, photo_px, aerial_px, None, gsd_m).with_crs(systems))
    return len(ids)


def write_cvogl(rows: Iterable[ObjectRecord], root: Path, task: Task, source: str = WRITTEN) -> int:
    """Write one task of CVOGL to its folder below `root`, as `write_cvusa` does; clicks are whole pixels there."""
    return _write_objects(rows, root / cvogl.FOLDERS[task], f"cvogl-{task}", task, source)


def write_g2d(rows: Iterable[ObjectRecord], root: Path, source: str = WRITTEN) -> int:
    """Write street photos with drone views as their references to CVOGL_G2D below `root`, as `write_cvogl` does."""
    return _write_objects(rows, root / cvogl.G2D_FOLDER, "g2d", "street", source)


def unroll(aerial: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the polar picture (128, 512, 3) of a north-up aerial (S, S, 3), as the public polar files are made."""
    pixels = torch.from_numpy(np.ascontiguousarray(aerial)).permute(2, 0, 1)[None].float()  # (1, 3, S, S)
    return polar_transform(pixels)[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()  # (128, 512, 3)


def _save_mat(path: Path, ids: NDArray[np.str_], utm: NDArray[np.float64], splits: NDArray[np.str_]) -> None:
    """Write ACT_data.mat; each set is a struct whose second field is its indices from 1, since some readers go by place, not by name."""

    def one(name: str, *members: str) -> dict[str, Any]:
        inside = np.isin(splits, members)
        return {"panoIds": ids[inside], name: np.flatnonzero(inside).astype(np.int32)[:, None] + 1}

    content = {
        "panoIds": ids,
        "utm": utm,
        "trainSet": one("trainInd", "train"),
        "valSet": one("valInd", "val"),
        "valSetAll": one("valInd", "val", "test"),
    }
    cvact.matlab_io().savemat(path, content, do_compression=True)


def _write_objects(rows: Iterable[ObjectRecord], root: Path, layout: str, task: Task, source: str) -> int:
    kept = Kept(root.name, cvogl.SPLITS)
    lists: dict[str, list[tuple[Any, ...]]] = {split: [] for split in cvogl.SPLITS}
    with new_folder(root, "data set") as folder:
        for row in rows:
            if row.task != task:
                raise InputError(f"{row.id}: a record of the task {row.task!r} does not belong in {root.name}")
            kept.add(row, row.photo)
            photo = f"{row.id}.jpg" if row.photo_xy is None else f"{row.id}_{round(row.photo_xy[0])}_{round(row.photo_xy[1])}.jpg"
            aerial = _aerial_name(row)
            save(folder / "query" / photo, row.photo)
            if kept.is_new(aerial, row.aerial):
                save(folder / "satellite" / aerial, row.aerial)
            lists[row.split].append(_tuple(row, photo, aerial))
        photo_px, aerial_px, _ = kept.shared
        for split, tuples in lists.items():
            save_archive(tuples, folder / f"{root.name}_{split}.pth")
        write_sidecar(folder, Sidecar(layout, source, photo_px, aerial_px))
    return sum(len(tuples) for tuples in lists.values())


def _tuple(row: ObjectRecord, photo: str, aerial: str) -> tuple[Any, ...]:
    """Return CVOGL's row; the first click is in a photo of twice the size, which no public reader uses."""
    x, y = int(row.click_px[0]), int(row.click_px[1])
    number = int(row.id) if row.id.isdecimal() and str(int(row.id)) == row.id else row.id  # CVOGL's own are numbers
    box, quad = [float(v) for v in row.box_px], [float(v) for v in row.quad_px]
    return number, photo, aerial, (2 * x, 2 * y), (x, y), box, quad, row.kind


def _aerial_name(row: ObjectRecord) -> str:
    if row.crs is None or row.aerial_centre_xy is None:
        return f"{row.id}.jpg"
    x, y = row.aerial_centre_xy
    code = row.crs.removeprefix("EPSG:")
    if x != int(x) or y != int(y) or not code.isdecimal():
        raise InputError(f"{row.id}: the aerial's middle {x}, {y} in {row.crs} must be whole metres in an EPSG code: its name carries them")
    return f"{int(x)}_{int(y)}_{row.aerial_side_m}_{code}.jpg"
