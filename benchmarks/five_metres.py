"""The 5 m step: cells described for every question, kept in a folder, or all in the index; to benchmarks/results/.

python benchmarks/five_metres.py [town] [banepa] [--data DIR] [--work DIR] [--photos N] [--minutes M] [--size-m M] [--seed S]

Every photo, of unknown heading and known camera, is asked about once under each condition in turn, so that a busy machine slows them alike:
`none` keeps nothing between questions; `cold` fills a folder as it goes; `warm` reads that folder, where the same was asked before;
`stride 5` searches an index whose tiles are the cells. Nothing is kept in memory. First the step is taken alone, from rivals beside the
truth, which takes minutes where the questions take an hour; `--minutes 0` leaves it at that.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import ground_truth
import numpy as np
from common import record, spread
from numpy.typing import NDArray

from crossgeo.demo import town_questions
from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.evaluate import Row, Truth, compare, summary
from crossgeo.engine.feature_cache import CELLS, DISK_BYTES, FeatureCache
from crossgeo.engine.fine import FineStep, Spot
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer
from crossgeo.engine.pose import DronePose
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.engine.runtime.pictures import of_imagery
from crossgeo.engine.search import GeoSearch
from crossgeo.geodesy import distance_m, from_lat_lon, grid_convergence_deg, to_lat_lon
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.town.write import write_town

OFF_M, OFF_DEG, OFF_SCALE = 10.0, 6.0, 0.08  # of rivals that the step alone starts from: about what the coarse search leaves
STRIDES_M = (15.0, 5.0)
HELD_OUT_ROW = 220245  # of map tiles of zoom 19: from here on south Banepa was held out, but for a margin


@dataclass
class Asked:
    """One condition: the search under it, and what came of its questions."""

    search: GeoSearch
    rows: list[Row] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def ask(self, truth: Truth) -> None:
        """Ask about one photo and keep the answer."""
        cpu = process_time()
        answer = self.search.query(truth.photo, **truth.query)
        self.cpu_s.append(process_time() - cpu)
        self.answers.append(answer)
        self.rows.append(compare(answer, truth))

    def result(self) -> dict[str, Any]:
        """Sum up: metres, milliseconds by stage, and what the cache did."""
        said = summary(self.rows)
        stages = dict.fromkeys(stage for answer in self.answers for stage in answer.timings_ms)
        cells = self.search.metrics()["cells"]
        return {
            "median_m": round(said["median_m"], 2), "within_5_m": round(said["within_m"]["5"] * len(self.rows)),
            "within_25_m": round(said["within_m"]["25"] * len(self.rows)), "status": said["status"],
            "ms": {stage: round(median(answer.timings_ms.get(stage, 0.0) for answer in self.answers), 1) for stage in stages},
            "cpu_s": round(median(self.cpu_s), 3),
            "cells": {name: cells[name] for name in ("memory_hits", "disk_hits", "misses", "from_index", "disk_bytes", "trouble")}
            | {"hit_rate": round(cells["hit_rate"], 4)},
        }  # fmt: skip


def built(sources: list[Path], out: Path, stride_m: float, describer: EgoTRDescriber) -> dict[str, Any]:
    """Build an index anew and say what it cost."""
    shutil.rmtree(out, ignore_errors=True)
    view = describer.tile_view
    began, cpu = perf_counter(), process_time()
    options = BuildOptions(tile_m=view.extent_m, tile_px=view.size_px, stride_m=stride_m)
    manifest = build_index(sources, out, describer.tiles, describer.identity, options)
    took_s, cpu_s = perf_counter() - began, process_time() - cpu
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return {"tiles": manifest.tiles, "seconds": round(took_s, 1), "cpu_s": round(cpu_s, 1), "bytes": size}


def measured(sources: list[Path], truths: list[Truth], work: Path, describer: EgoTRDescriber, minutes: float) -> dict[str, Any]:
    """Build both indexes, ask every question, or as many as the minutes allow, under every condition, and compare."""
    indexes = {stride_m: work / f"stride-{stride_m:g}.geo" for stride_m in STRIDES_M}
    out: dict[str, Any] = {"index": {f"{stride_m:g}": built(sources, path, stride_m, describer) for stride_m, path in indexes.items()}}
    out["step"] = steps(indexes, truths, work / "kept-steps", describer)
    shutil.rmtree(work / "kept", ignore_errors=True)

    def kept(folder: Path | None = None) -> FeatureCache:
        return FeatureCache(0, folder, DISK_BYTES, CELLS)

    def opened(stride_m: float, cells: FeatureCache) -> GeoSearch:
        return GeoSearch(GeoIndex.open(indexes[stride_m]), describer, cells=cells)

    with ExitStack() as stack:
        ways = {
            "none": (15.0, kept()), "cold": (15.0, kept(folder=work / "kept")), "warm": (15.0, kept(folder=work / "kept")),
            "stride 5": (5.0, kept()),
        }  # fmt: skip
        conditions = {name: Asked(stack.enter_context(opened(*how))) for name, how in ways.items()}
        began = perf_counter()
        for number, truth in enumerate(truths):
            if perf_counter() - began > 60.0 * minutes:
                break
            for asked in conditions.values():
                asked.ask(truth)
            print(f"{number + 1} of {len(truths)} photos, {perf_counter() - began:.0f} s", file=sys.stderr)
        out["photos"] = len(conditions["none"].rows)
        if not out["photos"]:
            return out
        out["conditions"] = {name: asked.result() for name, asked in conditions.items()}
        plain = conditions["none"].answers
        for name in ("cold", "warm"):
            out["conditions"][name]["same_as_none"] = likeness(plain, conditions[name].answers)
    began, again = perf_counter(), kept(folder=work / "kept")
    again.get(bytes(32))
    out["opening_the_folder_ms"] = round((perf_counter() - began) * 1e3, 1)
    again.close()
    return out


def steps(indexes: dict[float, Path], truths: list[Truth], folder: Path, describer: EgoTRDescriber) -> dict[str, Any]:
    """Take the 5 m step alone, from rivals up to OFF_M and OFF_DEG off, under every condition in turn, and compare."""
    shutil.rmtree(folder, ignore_errors=True)
    ways = {"none": (15.0, None), "cold": (15.0, folder), "warm": (15.0, folder), "stride 5": (5.0, None)}
    found: dict[str, list[Spot]] = {name: [] for name in ways}
    wall, cpu, metres = ({name: [] for name in ways} for _ in range(3))  # type: dict[str, list[float]]
    rng = np.random.default_rng(0)
    with ExitStack() as stack:
        opened = {stride_m: stack.enter_context(GeoIndex.open(path)) for stride_m, path in indexes.items()}
        taken = {
            name: FineStep(opened[stride_m], describer, kept=FeatureCache(0, place, DISK_BYTES, CELLS))
            for name, (stride_m, place) in ways.items()
        }
        for truth in truths:
            assert isinstance(truth.photo, Photo)
            off = rng.uniform(-1.0, 1.0, 4)
            for name, step in taken.items():
                start = rival(opened[ways[name][0]], truth, off)
                began, began_cpu = perf_counter(), process_time()
                spot = step.refine(truth.photo, [start])[0]
                wall[name].append((perf_counter() - began) * 1e3)
                cpu[name].append((process_time() - began_cpu) * 1e3)
                found[name].append(spot)
                metres[name].append(distance_m(*to_lat_lon(spot.segment.crs, spot.x, spot.y), truth.lat, truth.lon))
        out: dict[str, Any] = {"rivals": len(truths), "off_m": OFF_M, "off_deg": OFF_DEG}
        for name, step in taken.items():
            stats = step.cells.kept.stats()
            out[name] = {
                "ms": spread(wall[name], 1), "cpu_ms": spread(cpu[name], 1), "median_m": round(median(metres[name]), 2),
                "within_5_m": sum(away <= 5.0 for away in metres[name]), "cells_described": stats.misses, "cells_kept": stats.disk_hits,
                "cells_of_index": step.cells.from_index, "disk_bytes": stats.disk_bytes, "trouble": stats.trouble,
                "same_as_none": sum(one == two for one, two in zip(found["none"], found[name], strict=True)),
            }  # fmt: skip
            step.cells.kept.close()
    return out


def rival(index: GeoIndex, truth: Truth, off: NDArray[np.float64]) -> Spot:
    """Return a rival beside the truth, off by shares (4,) of the most in x, y, heading and scale."""
    assert isinstance(truth.photo, Photo) and truth.heading_deg is not None
    (segment,), exif = index.segments, truth.photo.exif
    assert exif.height_m is not None and exif.fov_deg is not None
    x, y = from_lat_lon(segment.crs, truth.lat, truth.lon)
    tilt_deg = exif.tilt_deg or 0.0
    width_m = 2.0 * exif.height_m / math.cos(math.radians(tilt_deg)) * math.tan(math.radians(exif.fov_deg / 2.0))
    heading_deg = truth.heading_deg - grid_convergence_deg(segment.crs, x, y)
    pose = DronePose(heading_deg + OFF_DEG * off[2], width_m * (1.0 + OFF_SCALE * off[3]), tilt_deg, exif.fov_deg)
    return Spot(segment, x + OFF_M * off[0], y + OFF_M * off[1], pose, 0.0, OFF_M, 0)


def likeness(plain: list[Answer], other: list[Answer]) -> dict[str, Any]:
    """Say how many answers are the same to the last digit, and how far apart the best places of the others are at most."""
    same, apart_m = 0, 0.0
    for one, two in zip(plain, other, strict=True):
        first, second = one.to_json(), two.to_json()
        del first["timings_ms"], second["timings_ms"]
        same += first == second
        if one.places and two.places:
            a, b = one.places[0], two.places[0]
            apart_m = max(apart_m, distance_m(a.lat, a.lon, b.lat, b.lon))
    return {"identical": same, "of": len(plain), "farthest_m": round(apart_m, 3)}


def town(args: argparse.Namespace) -> tuple[list[Path], list[Truth]]:
    """Make a town that nothing was trained on and read its photos, without their headings."""
    folder = args.work / f"town-{args.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    write_town(folder, args.seed, args.size_m, args.photos)
    truths = []
    for question in town_questions(folder):
        photo = Photo.read(question.photo)
        photo = replace(photo, exif=replace(photo.exif, heading_deg=None))
        truths.append(Truth(photo, question.lat, question.lon, question.heading_deg, query=camera_of(photo)))
    return [folder / "ortho.tif"], truths


def camera_of(photo: Photo) -> dict[str, Any]:
    """Return what the EXIF says of the camera, to be told: the search then does not try without it."""
    return {"height_m": photo.exif.height_m, "fov_deg": photo.exif.fov_deg, "tilt_deg": photo.exif.tilt_deg}


def banepa(args: argparse.Namespace) -> tuple[list[Path], list[Truth]]:
    """Take the map tiles of the held-out south of Banepa and render photos of it."""
    data, folder = ground_truth.data_folder(args.data), args.work / "banepa-tiles"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (data / "oam_banepa" / "tiles_z19").iterdir():
        if int(path.stem.split("-")[2]) >= HELD_OUT_ROW:  # names are OAM-x-y-z
            (folder / path.name).symlink_to(path.resolve())
    truths = ground_truth.rendered_truths(ground_truth.banepa(data, "held-out"), args.photos, 61, camera_known=True)
    return [folder], [replace(truth, query=camera_of(truth.photo)) for truth in truths if isinstance(truth.photo, Photo)]


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="town, banepa; both unless named")
    parser.add_argument("--data")
    parser.add_argument("--work", type=Path, default=Path("runs/five_metres"))
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=60.0, help="ask about no further photo after that")
    parser.add_argument("--size-m", type=int, default=400)
    parser.add_argument("--seed", type=int, default=ground_truth.HELD_OUT_TOWN)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    for part, simulated in (("town", "a simulated town, held out"), ("banepa", "photos rendered from real imagery, held-out ground")):
        if not args.parts or part in args.parts:
            sources, truths = (town if part == "town" else banepa)(args)
            options = RuntimeOptions(build=True, say=print)  # as `geo index build` and `geo batch` do
            describer = EgoTRDescriber.load(options=options, pictures=lambda: of_imagery(sources))  # noqa: B023  (called at once)
            result = measured(sources, truths, args.work, describer, args.minutes)
            about = {"simulated": simulated, "runtime": {"tiles": describer.tiles_run_on, "photos": describer.ground.branch.label}}
            record(f"five-metres-{part}", {**about, **({"seed": args.seed, "size_m": args.size_m} if part == "town" else {}), **result})


if __name__ == "__main__":
    main()
