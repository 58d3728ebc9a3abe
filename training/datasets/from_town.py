"""Made towns as data sets: panoramas in the layouts of CVUSA and CVACT, clicked objects in CVOGL's and G2D's; split by ground or town."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from crossgeo.errors import InputError, UsageError
from crossgeo.training.datasets.records import PanoramaRecord
from crossgeo.training.datasets.town_objects import SIDE_M, TownObject, object_records, town_objects
from crossgeo.training.datasets.town_panoramas import DENSE, SHAPES, PanoramaShape, panorama_records, town_pairs
from crossgeo.training.datasets.town_views import TownView, town_views, view_records
from crossgeo.training.datasets.write import write_cvact, write_cvogl, write_cvusa, write_g2d
from crossgeo.training.pairs import Pair, PairSet, Task
from crossgeo.training.splits import GAP, OVERLAPS, overlapping, resplit, split_by_area

SHARES: Mapping[str, Mapping[str, float]] = {  # about as the published sets are split
    "cvusa": {"train": 0.8, "val": 0.2},
    "cvact": {"train": 0.6, "val": 0.15, "test": 0.25},
    "cvogl": {"train": 0.7, "val": 0.15, "test": 0.15},
}
VAL_STEPS = 10  # of a dense test one in so many is the validation: 50 m apart, about the share of CVACT's own
TASKS: Mapping[str, Task] = {"cvogl-drone": "drone", "cvogl-street": "street"}
G2D = "g2d"
LAYOUTS = (*SHAPES, *TASKS, G2D)
LeftOut = list[tuple[str, str]]
Row = TypeVar("Row")
Item = TypeVar("Item", TownObject, TownView)


def write_from_towns(
    towns: Sequence[Path],
    layout: str,
    out: Path,
    cell_m: float = 150.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, int], LeftOut]:
    """Write towns to a new folder in a layout; return how many pairs each split holds, and what was left out with the reason.

    One town is split by ground, in cells of `cell_m`, and loses what lies between splits; of several the last is the last split, and so on
    backwards, and the rest is training. Where the last town of a CVACT has dense panoramas (`is_dense`), they are its test, every tenth
    its validation as well; the other towns train, or where it stands alone, what of it shows none of their ground.
    progress: called with pairs done and in all. Raises UsageError for another layout, InputError for towns that cannot be written or where
    a split would be empty.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"towns cannot be written as {layout!r}; choose from {', '.join(LAYOUTS)}")
    counts: dict[str, int] = {}
    if layout in SHAPES:
        pairs, left_out = _panoramas(towns, layout, cell_m, seed)
        counts.update(_counted(layout, [pair.split for pair, _ in pairs]))
        groups = (
            panorama_records([pair for pair, other in pairs if other == town], SHAPES[layout], _prefix(towns, town))
            for town in range(len(towns))
        )
        rows: Iterator[PanoramaRecord] = _watched(chain.from_iterable(groups), len(pairs), progress)
        (write_cvusa if layout == "cvusa" else write_cvact)(rows, out, _says(towns))
    elif layout == G2D:
        seen = [town_views(town, seed) for town in towns]
        widest_m = 2.0 * max((view.shot.reach_m for views, _ in seen for view in views), default=0.0)
        views, left_out = _objects(towns, seen, widest_m, cell_m, seed)
        counts.update(_counted("cvogl", [split for _, split, _ in views]))
        drawn = (
            view_records([(item, split) for item, split, other in views if other == town], _prefix(towns, town))
            for town in range(len(towns))
        )
        write_g2d(_watched(chain.from_iterable(drawn), len(views), progress), out, _says(towns))
    else:
        task = TASKS[layout]
        objects, left_out = _objects(towns, [town_objects(town, task, seed) for town in towns], SIDE_M, cell_m, seed)
        counts.update(_counted("cvogl", [split for _, split, _ in objects]))
        parts = (
            object_records(path, [(item, split) for item, split, other in objects if other == town], task, _prefix(towns, town))
            for town, path in enumerate(towns)
        )
        write_cvogl(_watched(chain.from_iterable(parts), len(objects), progress), out, task, _says(towns))
    return counts, left_out


def is_dense(towns: Sequence[Path]) -> bool:
    """Say whether the test of a CVACT from these towns is dense: the last one has panoramas every 5 m."""
    return (towns[-1] / DENSE).is_dir()


def _panoramas(towns: Sequence[Path], layout: str, cell_m: float, seed: int) -> tuple[list[tuple[Pair, int]], LeftOut]:
    """Return pairs with their splits and the number of their town."""
    if layout == "cvact" and is_dense(towns):
        return _around_dense(towns, SHAPES[layout])
    sets = [town_pairs(town, SHAPES[layout]) for town in towns]
    if len(sets) == 1:
        sets = [resplit(sets[0], SHARES[layout], cell_m, SHAPES[layout].apart_m, seed)]
    else:
        splits = _by_town(len(sets), list(SHARES[layout]))
        sets = [replace(data, pairs=tuple(replace(p, split=split) for p in data)) for data, split in zip(sets, splits, strict=True)]
    pairs = [(pair, number) for number, data in enumerate(sets) for pair in data]
    return pairs, [gone for data in sets for gone in data.left_out]


def _around_dense(towns: Sequence[Path], shape: PanoramaShape) -> tuple[list[tuple[Pair, int]], LeftOut]:
    """Return the dense panoramas of the last town as test and validation, and what may train beside them."""
    last = len(towns) - 1
    asked = town_pairs(towns[last], shape, DENSE)
    held = [(replace(pair, split="test" if step % VAL_STEPS else "val"), last) for step, pair in enumerate(asked)]
    left_out = list(asked.left_out)
    trained: list[tuple[Pair, int]] = []
    for number, town in enumerate(towns[:last] or towns):
        found = town_pairs(town, shape)
        left_out += found.left_out
        for pair, shared in zip(found, overlapping(_places(found), _places(asked), shape.apart_m), strict=True):
            if shared and pair.crs == asked.pairs[0].crs:
                left_out.append((pair.id, OVERLAPS))
            else:
                trained.append((replace(pair, split="train"), number))
    return trained + held, left_out


def _places(data: PairSet) -> NDArray[np.float64]:
    """Return the places of all photos (N, 2), each town's in its own CRS."""
    return np.array([pair.xy for pair in data], np.float64).reshape(-1, 2)


def _objects(
    towns: Sequence[Path], found: Sequence[tuple[list[Item], LeftOut]], side_m: float, cell_m: float, seed: int
) -> tuple[list[tuple[Item, str, int]], LeftOut]:
    """Return the objects of towns, whose aerials show up to `side_m`, with their splits and the number of their town."""
    left_out = [gone for _, more in found for gone in more]
    shares = SHARES["cvogl"]
    if len(found) > 1:
        splits = _by_town(len(found), list(shares))
        return [(item, splits[n], n) for n, (items, _) in enumerate(found) for item in items], left_out
    items = found[0][0]
    if not items:
        raise InputError(f"{towns[0]}: no object can be written; the first, {left_out[0][0]}: {left_out[0][1]}")
    names = split_by_area(np.array([item.centre_xy for item in items]), shares, cell_m, side_m, seed)
    left_out += [(item.id, OVERLAPS) for item, name in zip(items, names, strict=True) if name == GAP]
    return [(item, name, 0) for item, name in zip(items, names, strict=True) if name != GAP], left_out


def _by_town(count: int, splits: Sequence[str]) -> list[str]:
    """Return the split of each of several towns: the last towns are the last splits, one each, and all before them train."""
    held_out = list(splits[1:])[-(count - 1) :]
    return [splits[0]] * (count - len(held_out)) + held_out


def _counted(layout: str, splits: Sequence[str]) -> dict[str, int]:
    counts = {split: splits.count(split) for split in SHARES[layout]}
    if not counts["train"] or not sum(counts.values()) > counts["train"]:
        raise InputError(
            f"too little ground to hold any out: {counts} are left where nothing overlaps; give larger towns, several, or smaller cells"
        )
    return counts


def _prefix(towns: Sequence[Path], number: int) -> str:
    return f"t{number:02d}-" if len(towns) > 1 else ""


def _says(towns: Sequence[Path]) -> str:
    """Say what the pictures are, with the seeds of the towns where they are known."""
    seeds = []
    for town in towns:
        try:
            seeds.append(str(json.loads((town / "town.json").read_text(encoding="utf-8"))["seed"]))
        except (OSError, ValueError, KeyError, TypeError):
            seeds.append("unknown")
    return f"simulated: towns that crossgeo made from the seeds {', '.join(seeds)}"


def _watched(rows: Iterator[Row], total: int, progress: Callable[[int, int], None] | None) -> Iterator[Row]:
    for done, row in enumerate(rows, start=1):
        yield row
        if progress is not None:
            progress(done, total)
