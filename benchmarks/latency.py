"""What a question costs on this machine, stage by stage, and what an index costs to build, written to benchmarks/results/latency.json.

python benchmarks/latency.py [--data DIR] [--work DIR] [--photos N] [--threads N] [--index DIR]

The index is of all Banepa, built afresh unless one is named; photos are rendered from its held-out part, as JPEGs, each asked about
once, since later questions about the same ground find its cells in a cache. Times are of the wall clock: leave the machine alone
meanwhile, or read `cpu_s`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import quantiles
from time import perf_counter, process_time
from typing import Any

import ground_truth
import torch
from common import record
from PIL import Image

from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.evaluate import Truth
from crossgeo.engine.photo import Photo
from crossgeo.engine.search import GeoSearch
from crossgeo.indexer.build import BuildOptions, build_index

CONDITIONS = [(known, clicked) for known in (True, False) for clicked in (False, True)]
Question = tuple[bytes, dict[str, Any]]  # a JPEG, and what is asked of it


def main() -> None:
    """Measure all and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), help="where the index is built and removed again")
    parser.add_argument("--photos", type=int, default=8, help="photos for each of the four conditions; at least 2")
    parser.add_argument("--threads", type=int, help="of torch; all cores unless given")
    parser.add_argument("--index", type=Path, help="an index of Banepa to ask; no rate of building is then measured")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    data = ground_truth.data_folder(args.data)
    load = os.getloadavg()[0]  # before our own work
    real_ms = [read_ms(path) for path in sorted((data / "drone_brighton_beach" / "photos").glob("*.jpg"))]
    truths = ground_truth.rendered_truths(ground_truth.banepa(data, "held-out"), 4 * args.photos + 1, 51, camera_known=True, clicks=True)
    args.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        index = args.index or Path(folder) / "banepa.geo"
        built = None if args.index else build(data / "oam_banepa" / "tiles_z19", index)
        first = question(next(truths), known=False, clicked=True)
        with GeoSearch.open(index) as search:
            search.query(first[0], **first[1])  # loads the object model, chooses kernels
            answers = {name_of(*condition): ask(search, list(islice(truths, args.photos)), *condition) for condition in CONDITIONS}
        process = one_process(index, Path(folder), first)
    record(
        "latency",
        {
            "simulated": "photos rendered from real imagery, held-out ground",
            "threads": torch.get_num_threads(),
            "load_before": round(load, 2),
            "index": built,
            "queries": answers,
            "one_process": process,
            "decode_of_real_photos_ms": spread(real_ms),
        },
    )


def build(imagery: Path, out: Path) -> dict[str, Any]:
    """Build an index and return its rate and size."""
    describer = EgoTRDescriber.load()
    options = BuildOptions(tile_m=describer.tile_view.extent_m, tile_px=describer.tile_view.size_px)
    began, cpu = perf_counter(), process_time()
    manifest = build_index([imagery], out, describer.tiles, describer.identity, options)
    took_s, cpu_s = perf_counter() - began, process_time() - cpu
    tiles = sum(segment.tiles for segment in manifest.segments)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return {
        "tiles": tiles, "tiles_per_s": round(tiles / took_s, 1), "seconds": round(took_s, 1), "cpu_s": round(cpu_s, 1),
        "bytes": size, "bytes_per_tile": round(size / tiles),
    }  # fmt: skip


def question(truth: Truth, *, known: bool, clicked: bool) -> Question:
    """Return a truth's photo as a JPEG and the arguments that tell its camera, where `known`, and its point, where `clicked`."""
    photo = truth.photo
    assert isinstance(photo, Photo)
    file = io.BytesIO()
    Image.fromarray(photo.pixels).save(file, "JPEG", quality=92)
    camera = {"height_m": photo.exif.height_m, "fov_deg": photo.exif.fov_deg, "tilt_deg": photo.exif.tilt_deg}
    return file.getvalue(), {**(camera if known else {}), **({"point": truth.point} if clicked else {})}


def ask(search: GeoSearch, truths: Sequence[Truth], known: bool, clicked: bool) -> dict[str, Any]:
    """Ask about each photo once; return the median and quartiles of each stage and of the whole."""
    timings, cpu_s, located = [], [], 0
    for truth in truths:
        jpeg, options = question(truth, known=known, clicked=clicked)
        cpu = process_time()
        answer = search.query(jpeg, **options)
        cpu_s.append(process_time() - cpu)
        timings.append(answer.timings_ms)
        located += answer.status == "located"
    return {"photos": len(truths), "located": located, "ms": stages(timings), "cpu_s": spread(cpu_s, digits=3)}


def stages(timings: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the spread of each stage over the answers that went through it, in the order of the stages."""
    names = dict.fromkeys(name for one in timings for name in one)
    return {name: spread([one[name] for one in timings if name in one]) for name in sorted(names, key=lambda name: name == "total")}


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Return the quartiles of values, and how many they were; of one value, that value."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": round(middle, digits), "q1": round(low, digits), "q3": round(high, digits), "n": len(values)}


def one_process(index: Path, folder: Path, asked: Question) -> dict[str, Any]:
    """Ask by `geo query` in a process of its own; return what it took from start to answer, and its memory at the most."""
    photo = folder / "photo.jpg"
    photo.write_bytes(asked[0])
    words = ["query", str(photo), "--index", str(index), "--json", "--point", ",".join(f"{value:.1f}" for value in asked[1]["point"])]
    command = [sys.executable, "-c", "from crossgeo.cli import main; main()", *words]
    began = perf_counter()
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())})
    took_s = perf_counter() - began
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # this child's, the first and largest
    return {"seconds": round(took_s, 2), "peak_memory_mb": round(peak_kib / 1024), "ms": json.loads(run.stdout)["timings_ms"]}


def read_ms(path: Path) -> float:
    """Read a photo and return what that took."""
    began = perf_counter()
    Photo.read(path)
    return (perf_counter() - began) * 1e3


def name_of(known: bool, clicked: bool) -> str:
    """Return how a condition is called in the result."""
    return f"camera_{'known' if known else 'unknown'}{'_with_click' if clicked else ''}"


if __name__ == "__main__":
    main()
