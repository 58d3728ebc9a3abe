"""Which layout a folder has, and the reader for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from crossgeo.errors import InputError, UsageError
from crossgeo.training.datasets.cvact import MAT, read_cvact
from crossgeo.training.datasets.cvogl import FOLDERS, G2D_FOLDER, read_cvogl, read_g2d
from crossgeo.training.datasets.cvusa import LISTS, read_cvusa
from crossgeo.training.datasets.university1652 import LAYOUTS as UNIVERSITY1652
from crossgeo.training.datasets.university1652 import read_university1652
from crossgeo.training.datasets.vigor import CITIES, read_vigor
from crossgeo.training.datasets.vigor import LAYOUTS as VIGOR
from crossgeo.training.pairs import ObjectSet, PairSet

READERS: Mapping[str, Callable[[Path], PairSet | ObjectSet]] = {
    "cvusa": read_cvusa,
    "cvact": read_cvact,
    "cvogl-drone": lambda root: read_cvogl(root, "drone"),
    "cvogl-street": lambda root: read_cvogl(root, "street"),
    "g2d": read_g2d,
    **{layout: partial(read_vigor, protocol=protocol) for protocol, layout in VIGOR.items()},
    **{layout: partial(read_university1652, view=view) for view, layout in UNIVERSITY1652.items()},
}
LAYOUTS = (*READERS, "cvogl")  # both tasks of CVOGL, as far as they are there
_SIGNS: Mapping[str, tuple[str, ...]] = {  # one of these below the folder gives a layout away; those without are to be named
    "cvusa": tuple(f"{folder}{name}" for folder in ("splits/", "") for name in LISTS.values()),
    "cvact": (MAT,),
    "cvogl-drone": (FOLDERS["drone"], f"{FOLDERS['drone']}_train.pth"),
    "cvogl-street": (FOLDERS["street"], f"{FOLDERS['street']}_train.pth"),
    "g2d": (G2D_FOLDER, f"{G2D_FOLDER}_train.pth"),
    "vigor": tuple(f"{folder}/{city}" for folder in ("splits", "splits__corrected") for city in CITIES),
    "university1652": ("train/drone", "test/query_drone"),
}


def recognise(root: Path, layout: str | None = None) -> list[str]:
    """Return the layouts found in a folder, or those that a name stands for (`cvogl` is the tasks that are there).

    Raises UsageError for a name that is no layout, InputError when nothing is recognised.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f"{layout!r} is no layout that we read; choose from {', '.join(LAYOUTS)}")
    if layout is not None and layout != "cvogl":
        return [layout]
    found = [name for name, signs in _SIGNS.items() if any((root / sign).exists() for sign in signs)]
    if layout == "cvogl":
        found = [name for name in found if name.startswith("cvogl")]
    if not found:
        wanted = {n: s for n, s in _SIGNS.items() if layout is None or n.startswith("cvogl")}
        raise InputError(f"{root}: no data set that we read; looked for " + "; ".join(f"{s[0]} ({n})" for n, s in wanted.items()))
    return found


def read(root: Path, layout: str | None = None) -> PairSet | ObjectSet:
    """Read a data set of any layout; raise InputError where none is recognised, or where several are and none is named."""
    found = recognise(root, layout)
    if len(found) > 1:
        raise InputError(f"{root} holds {' and '.join(found)}; name the one that you mean")
    return READERS[found[0]](root)
