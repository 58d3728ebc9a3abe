"""What a whole question costs, stage by stage: decode, headings, search, registration, 5 m step, object; by every runtime that runs here.

python benchmarks/query.py [--device cpu|cuda] [--photos N] [--size-m M] [--threads N] [--only RUNTIME ...] [--slow] [--work DIR]
    [--stride-m M]

A town that no weights were trained on is made and indexed; its drone photos come as JPEGs without EXIF, each with a click, once with
height, field of view and tilt told and once with nothing known. Each photo is asked about once by each runtime, in turn, since later
questions about the same ground find its cells in a cache; torch in float32 is the peer. Stages are by the clock; whole questions by process
time on a processor, which other programs do not add to, and by the clock on a GPU. A stride of 0.6 m makes a million rows of 600 m of town:
what a search over as many costs on a GPU, though not how hard it is to find a place among them.
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
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any

import torch
from common import record
from ground_truth import HELD_OUT_TOWN
from PIL import Image

from crossgeo.demo import Question, town_questions
from crossgeo.engine.build import build_index
from crossgeo.engine.photo import Photo
from crossgeo.engine.runtime.backends import NAMES, backend
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.geodesy import distance_m
from crossgeo.indexer.build import BuildOptions
from crossgeo.town.write import write_town

PEER = "torch fp32"
CONDITIONS = {"camera known": True, "nothing known": False}
Asked = tuple[bytes, dict[str, Any]]  # a JPEG, and what is told of it


def main() -> None:
    """Measure all and write it down."""
    args = parsed()
    torch.set_num_threads(args.threads)
    load = os.getloadavg()[0]  # before our own work
    args.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.work) as made, ExitStack() as opened:
        folder = Path(made)
        index, built = town_index(folder, args, 2 * args.photos + 4)
        questions = [question for question in town_questions(folder / "town") if question.point is not None][: args.photos + 1]
        ways = {
            name: opened.enter_context(GeoSearch.open(index, street_weights=None, runtime=options))
            for name, options in runtimes(args).items()
        }
        taken = {name: asked_in_turn(ways, questions, known, args.device) for name, known in CONDITIONS.items()}
        process = one_process(index, folder, asked(questions[0], known=False), args.device)
    record(
        "query" if args.device == "cpu" else "query-gpu",
        {
            "simulated": f"drone photos of a town of {args.size_m} m, held out by its seed",
            "device": "" if args.device == "cpu" else torch.cuda.get_device_name(),
            "threads": torch.get_num_threads(),
            "load_before": round(load, 2),
            "whole_by": "process time" if args.device == "cpu" else "the clock",
            **built,
            **({} if args.device == "cpu" else {"bar": bar(taken["camera known"])}),
            "conditions": taken,
            "one_process": process,
        },
    )


def bar(ways: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an H100 must show, and the quickest runtime's median of whole questions."""
    best = min(ways, key=lambda name: ways[name]["whole_ms"]["median"])
    reached = ways[best]["whole_ms"]["median"]
    return {
        "what": "ms of a whole question at the median, camera known",
        "at_most": 15.0,
        "best": best,
        "reached": reached,
        "met": reached <= 15.0,
    }


def runtimes(args: argparse.Namespace) -> dict[str, RuntimeOptions]:
    """Return what runs here by name, the peer first, each in its own precision; engines are kept where `geo` keeps them."""
    names = [name for name in args.only or NAMES if backend(name).missing(args.device) is None]
    if args.device == "cpu" and not args.slow:
        names = [name for name in names if name != "torch-compile"]
    plain = RuntimeOptions(runtime="torch", precision="fp32", device=args.device)
    return {PEER: plain} | {name: RuntimeOptions(runtime=name, device=args.device) for name in names}


def town_index(folder: Path, args: argparse.Namespace, photos: int) -> tuple[Path, dict[str, float]]:
    """Make the held-out town in `folder`, with a click in each photo, index it, and return where, and what that took."""
    write_town(folder / "town", HELD_OUT_TOWN, args.size_m, photos, objects_per_photo=1)
    options, runtime = BuildOptions(stride_m=args.stride_m), RuntimeOptions(device=args.device)
    began = perf_counter()
    tiles = build_index(folder / "town" / "ortho.tif", folder / "town.geo", options=options, runtime=runtime).tiles
    took_s = perf_counter() - began
    print(f"{tiles} tiles in {took_s:.0f} s", file=sys.stderr, flush=True)
    told = {"stride_m": args.stride_m, "tiles": tiles, "build_s": round(took_s, 1), "tiles_a_second": round(tiles / took_s)}
    return folder / "town.geo", told


def asked(question: Question, *, known: bool) -> Asked:
    """Return a photo's JPEG without its EXIF, and what is told with it: its point and, where `known`, its camera but for the heading."""
    file = io.BytesIO()
    with Image.open(question.photo) as picture:
        picture.save(file, "JPEG", quality="keep", exif=b"")
    exif = Photo.read(question.photo).exif
    camera = {"height_m": exif.height_m, "fov_deg": exif.fov_deg, "tilt_deg": exif.tilt_deg}
    return file.getvalue(), {"kind": "drone", "point": question.point, **(camera if known else {})}


def asked_in_turn(ways: Mapping[str, GeoSearch], questions: Sequence[Question], known: bool, device: str) -> dict[str, Any]:
    """Ask about each photo once by each way, the first photo before it counts: it loads the object model and chooses kernels."""
    stages_ms: dict[str, list[Mapping[str, float]]] = {name: [] for name in ways}
    whole_ms: dict[str, list[float]] = {name: [] for name in ways}
    apart_m: dict[str, list[float]] = {name: [] for name in ways}
    located = dict.fromkeys(ways, 0)
    clock = process_time if device == "cpu" else perf_counter
    for number, question in enumerate(questions):
        jpeg, told = asked(question, known=known)
        order = list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]
        print(f"photo {number} of {len(questions) - 1}", file=sys.stderr, flush=True)
        for name in order:
            began = clock()
            answer = ways[name].query(jpeg, **told)
            spent = 1e3 * (clock() - began)
            if number == 0:
                continue
            stages_ms[name].append(answer.timings_ms)
            whole_ms[name].append(spent)
            located[name] += answer.status == "located"
            if answer.places:
                apart_m[name].append(distance_m(question.lat, question.lon, answer.places[0].lat, answer.places[0].lon))
    return {
        name: {
            "photos": len(whole_ms[name]),
            "located": located[name],
            "metres": round(median(apart_m[name]), 2) if apart_m[name] else None,
            "whole_ms": spread(whole_ms[name]),
            "times_faster_than_torch_fp32": spread([p / own for p, own in zip(whole_ms[PEER], whole_ms[name], strict=True)], digits=3),
            "stages_ms": stages(stages_ms[name]),
        }
        for name in ways
    }


def stages(timings: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the spread of each stage over the answers that went through it, in the order of the stages."""
    names = dict.fromkeys(name for one in timings for name in one)
    return {name: spread([one[name] for one in timings if name in one]) for name in sorted(names, key=lambda name: name == "total")}


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Return the quartiles of values, and how many they were; of one value, that value."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": round(middle, digits), "q1": round(low, digits), "q3": round(high, digits), "n": len(values)}


def one_process(index: Path, folder: Path, question: Asked, device: str) -> dict[str, Any]:
    """Ask by `geo query` in a process of its own; return what it took from start to answer, and its memory at the most."""
    photo = folder / "photo.jpg"
    photo.write_bytes(question[0])
    words = [
        "query",
        str(photo),
        "--index",
        str(index),
        "--json",
        "--device",
        device,
        "--point",
        ",".join(f"{value:.1f}" for value in question[1]["point"]),
    ]
    command = [sys.executable, "-c", "from crossgeo.cli import main; main()", *words]
    began = perf_counter()
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())})
    took_s = perf_counter() - began
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # this child's, the first and largest
    return {"seconds": round(took_s, 2), "peak_memory_mb": round(peak_kib / 1024), "ms": json.loads(run.stdout)["timings_ms"]}


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--photos", type=int, default=8, help="that count, of each condition; at least 2")
    parser.add_argument("--size-m", type=int, default=600, help="side of the town")
    parser.add_argument("--stride-m", type=float, default=15.0, help="from one tile to the next")
    parser.add_argument("--threads", type=int, default=1, help="of torch and the runtimes")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="runtimes beside the peer; all that run here unless named")
    parser.add_argument("--slow", action="store_true", help="torch-compile on a processor, too, which takes minutes to warm")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()), help="where the town and its index are made and removed again"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
