"""What is missing or wrong in a data set: files, sizes, ids, headings, clicks, boxes, repeats, ground that splits share with training."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crossgeo.errors import UsageError
from crossgeo.models.street import DEFAULT_STREET_FOV_DEG
from crossgeo.training.datasets.folder import HEADLESS, MAGNETIC, read_folder
from crossgeo.training.datasets.glance import Glance, glance, repeats
from crossgeo.training.datasets.ground_size import GroundSize, verify_ground_size
from crossgeo.training.datasets.layouts import READERS, recognise
from crossgeo.training.datasets.vigor import LAYOUTS as VIGOR
from crossgeo.training.pairs import ObjectPair, ObjectSet, Pair, PairSet, Point, Size
from crossgeo.training.splits import overlapping

STEP_M = 5.0  # CVACT's test: a hit is any reference within it
_BATCH = 64
Seen = Mapping[Path, Glance | str]  # what a picture looks like, or what is wrong with it


@dataclass(frozen=True)
class Report:
    """What was found: a line each problem, how many of what were looked at, and what else the pictures say."""

    problems: list[str]
    counts: dict[str, int]
    notes: list[str]


def check(
    root: Path, layout: str | None = None, imagery: Sequence[Path] = (), progress: Callable[[int, int], None] | None = None
) -> Report:
    """Read a data set with its layout's reader, then every picture of it; `folder`, with its imagery, is a layout too.

    progress: called with pictures done and pictures in all. Raises InputError when there is no such data set or its lists cannot be read.
    """
    if (layout == "folder") != bool(imagery):
        raise UsageError("the layout folder needs the imagery of its ground, and no other layout takes any; give both or neither")
    sets = [read_folder(root, imagery)] if imagery else [READERS[name](root) for name in recognise(root, layout)]
    seen = _look_at(sets, progress)
    problems: list[str] = []
    counts: dict[str, int] = {}
    notes: list[str] = []
    for data in sets:
        for split in data.splits:
            counts[f"{data.name} {split}"] = sum(pair.split == split for pair in data.pairs)
        problems += _doubled(data)
        problems += _pictures(data, seen)
        if isinstance(data, PairSet):
            problems += [f"{name}: left out, {reason}" for name, reason in data.left_out]
            counts |= _gallery(data)
        else:
            problems += _objects(data, seen)
            ground = _ground_size(data, seen)
            if ground is not None:
                (problems if ground.agrees is False else notes).append(f"{data.name}: {ground.words}")
        if isinstance(data, PairSet) and data.layout == "folder":
            problems += _headless(data)
            notes += _fov_guessed(data)
        shared = _shared_ground(data)
        if data.layout == VIGOR["same"]:
            notes += [f"{line}, as VIGOR's same-area lists are meant to" for line in shared]
        else:
            problems += shared
        more_problems, more_notes = repeats(data, seen)
        problems += more_problems
        notes += more_notes
    counts["pictures"] = len(seen)
    return Report(problems, counts, notes)


def _look_at(sets: Sequence[PairSet | ObjectSet], progress: Callable[[int, int], None] | None) -> Seen:
    """Look at every picture once."""
    paths = list(dict.fromkeys(path for data in sets for path, _ in _wanted(data)))
    found: dict[Path, Glance | str] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), _BATCH):
            batch = paths[start : start + _BATCH]
            found.update(zip(batch, pool.map(glance, batch), strict=True))
            if progress is not None:
                progress(len(found), len(paths))
    return found


def _wanted(data: PairSet | ObjectSet) -> Iterator[tuple[Path, Size | None]]:
    """Yield every picture of a set with the size that it should have."""
    for pair in data.pairs:
        yield pair.photo, data.photo_px
        if isinstance(pair, ObjectPair) or pair.window_m is None:
            yield pair.aerial, data.aerial_px
    if isinstance(data, PairSet):
        for aerial in data.distractors:
            yield aerial.path, data.aerial_px


def _pictures(data: PairSet | ObjectSet, seen: Seen) -> list[str]:
    problems = []
    for path, wanted in dict.fromkeys(_wanted(data)):
        found = seen[path]
        if isinstance(found, str):
            problems.append(found)
        elif wanted is not None and found.size != wanted:
            width, height = found.size
            problems.append(f"{path}: {width} x {height} px, where {data.name} has {wanted[0]} x {wanted[1]}")
    return problems


def _doubled(data: PairSet | ObjectSet) -> list[str]:
    times = Counter((pair.split, pair.id) for pair in data.pairs)
    return [f"{data.name}: the id {name} comes {count} times in {split}" for (split, name), count in times.items() if count > 1]


def _headless(data: PairSet) -> list[str]:
    """Say how many photos of a folder training cannot take, since they do not say where they looked."""
    problems = []
    for magnetic, why in ((False, HEADLESS), (True, MAGNETIC)):
        without = [pair.id for pair in data if pair.heading_deg is None and pair.magnetic_heading is magnetic]
        if without:
            problems.append(f"{data.name}: {len(without)} of {len(data)} photos cannot be trained on, the first {without[0]}: {why}")
    return problems


def _fov_guessed(data: PairSet) -> list[str]:
    """Say how many photos of a folder are taken for what most phones see."""
    without = [pair.id for pair in data if pair.fov_deg is None]
    if not without:
        return []
    guess = f"{DEFAULT_STREET_FOV_DEG:g} degrees are taken for it (a focal length in the EXIF says better)"
    return [f"{data.name}: {len(without)} of {len(data)} photos do not say their field of view, the first {without[0]}: {guess}"]


def _objects(data: ObjectSet, seen: Seen) -> list[str]:
    problems = []
    for pair in data.pairs:
        photo, aerial = (None if isinstance(found, str) else found.size for found in (seen[pair.photo], seen[pair.aerial]))
        x, y = pair.click_px
        x0, y0, x1, y1 = pair.box_px
        if photo is not None and not (0.0 <= x < photo[0] and 0.0 <= y < photo[1]):
            pixel = f"{math.floor(x)},{math.floor(y)}"  # as the list has it
            problems.append(f"{data.name} {pair.split} {pair.id}: the click {pixel} is outside its photo of {photo[0]} x {photo[1]} px")
        if not (x0 < x1 and y0 < y1):
            problems.append(f"{data.name} {pair.split} {pair.id}: the box {x0:g},{y0:g},{x1:g},{y1:g} is empty")
        elif aerial is not None and not (min(x0, y0) >= 0.0 and x1 <= aerial[0] and y1 <= aerial[1]):
            problems.append(
                f"{data.name} {pair.split} {pair.id}: the box {x0:g},{y0:g},{x1:g},{y1:g} leaves its aerial of {aerial[0]} x {aerial[1]} px"
            )
    return problems


def _ground_size(data: ObjectSet, seen: Seen) -> GroundSize | None:
    """Hold the metres that names of aerials say against the pictures; None where no name says any."""
    named = tuple(pair for pair in data if pair.aerial_gsd_m is not None and not isinstance(seen[pair.aerial], str))
    return verify_ground_size(replace(data, pairs=named)) if named else None


def _gallery(data: PairSet) -> dict[str, int]:
    """Count the gallery's other pictures, and the test photos that have another right answer within 5 m."""
    counts = {f"{data.name} gallery pictures of no photo": len(data.distractors)} if data.distractors else {}
    test = np.array([pair.xy for pair in data.pairs if pair.split == "test" and pair.xy is not None], np.float64).reshape(-1, 2)
    if data.layout == "cvact" and len(test):
        import shapely

        close = shapely.STRtree(shapely.points(test)).query(shapely.points(test), predicate="dwithin", distance=STEP_M)
        counts["CVACT test photos with another within 5 m"] = int((np.bincount(close[0], minlength=len(test)) > 1).sum())
    return counts


def _shared_ground(data: PairSet | ObjectSet) -> list[str]:
    """Say how many aerials of each other split overlap an aerial of training."""
    problems = []
    squares = [(pair.split, *square) for pair in data.pairs if (square := _square(pair, data.aerial_px)) is not None]
    for crs in dict.fromkeys(crs for _, crs, _, _ in squares):
        side_m = max(side for _, c, _, side in squares if c == crs)
        places = {
            split: np.unique(np.array([xy for s, c, xy, _ in squares if (s, c) == (split, crs)], np.float64).reshape(-1, 2), axis=0)
            for split in data.splits
        }
        if "train" not in places:
            continue
        for split, xy in places.items():
            shared = int(overlapping(xy, places["train"], side_m).sum()) if split != "train" else 0
            if shared:
                problems.append(f"{data.name}: {shared} of {len(xy)} aerials of {split} show ground that train shows too ({crs})")
    return problems


def _square(pair: Pair | ObjectPair, aerial_px: Size | None) -> tuple[str, Point, float] | None:
    """Return CRS, middle and side in metres of the ground that an aerial shows, where the set says it."""
    if isinstance(pair, ObjectPair):
        if pair.aerial_crs is None or pair.aerial_origin_xy is None or pair.aerial_gsd_m is None or aerial_px is None:
            return None
        side_m = pair.aerial_gsd_m * aerial_px[0]
        return pair.aerial_crs, (pair.aerial_origin_xy[0] + side_m / 2, pair.aerial_origin_xy[1] - side_m / 2), side_m
    if pair.crs is None or pair.aerial_centre_xy is None or pair.aerial_gsd_m is None:
        return None
    if pair.window_m is not None:
        return pair.crs, pair.aerial_centre_xy, pair.window_m
    return None if aerial_px is None else (pair.crs, pair.aerial_centre_xy, pair.aerial_gsd_m * aerial_px[0])
