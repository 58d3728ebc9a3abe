"""Search of 0.1 to 10 million descriptors on one core against what others offer, in one run; written to results/search-ROWS.json.

OMP_NUM_THREADS=1 python benchmarks/search.py ROWS [--work DIR] [--peers all|none|usual] [--questions N] [--memory-gb 8] [--device cuda]

Rows and questions are drawn by descriptor_model.py, with the spectrum and the neighbours of Banepa's and of photos of it. Every index is
searched as widely as it must be to find 99 % of the best rows and 95 % of the ten best; one that cannot says what it finds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import record, spread
from descriptor_model import Descriptors, Model
from numpy.typing import NDArray
from search_peers import Peer, peers

from crossgeo import processor
from crossgeo.indexer.vector_index import VectorIndex, write_vectors
from crossgeo.indexer.vectors import Rows, matrix_scan
from crossgeo.indexer.vectors.on_device import DeviceRows, type_that_fits
from crossgeo.indexer.vectors.structure import Budget, choose_structure
from crossgeo.indexer.vectors.tune import DEPTH, Truth, recall

Array = NDArray[np.float32]
SEED, PIECE = 1, 1 << 15
WANTED = (0.99, 0.95)


class FileRows:
    """Rows in float16 in a file, which is read and not mapped: what is measured as memory is the index's."""

    def __init__(self, path: Path, rows: int, dim: int) -> None:
        self.shape, self._path = (rows, dim), path

    def read(self, start: int, stop: int) -> Array:
        """Return rows `start` to `stop` as float32."""
        dim = self.shape[1]
        found = np.fromfile(self._path, np.float16, (stop - start) * dim, offset=start * dim * 2)
        return found.reshape(-1, dim).astype(np.float32)


def draw(work: Path, rows: int, questions: int) -> tuple[FileRows, Array, NDArray[np.int64], NDArray[np.float32]]:
    """Return rows, questions and the ten best rows of each with their scores, drawn once and kept."""
    model = Model.read()
    drawn, path, kept = Descriptors(model, SEED), work / f"rows-{rows}.f16", work / f"questions-{rows}.npz"
    found = FileRows(path, rows, model.dim)
    if not kept.exists():
        photos = []
        with path.open("wb") as file:
            for patch, taken in drawn.patches(rows, questions):
                file.write(patch.astype(np.float16).tobytes())
                photos.append(taken)
        truth = Truth(np.concatenate(photos))
        for start in range(0, rows, PIECE):
            truth.see(start, found.read(start, min(start + PIECE, rows)))
        np.savez(kept, asked=truth.asked, rows=truth.rows, scores=truth.scores)
    with np.load(kept) as held:
        return found, held["asked"], held["rows"], held["scores"]


def build(folder: Path, rows: Rows, budget: Budget, told: Any) -> None:
    """Build ours in a process of its own and tell what it took."""
    began, cpu = time.perf_counter(), time.process_time()
    written = write_vectors(folder, rows, budget)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told.send({
        "build_s": round(time.perf_counter() - began, 1), "build_cpu_s": round(time.process_time() - cpu, 1), "build_peak_bytes": peak,
        "tuned_to": None if written is None else vars(written),
    })  # fmt: skip


def ours(work: Path, rows: FileRows, budget: Budget) -> tuple[VectorIndex, dict[str, Any]]:
    """Return our index of the rows, and what it took to build."""
    folder = work / f"index-{rows.shape[0]}-{choose_structure(*rows.shape, budget).kind}"
    if not (folder / "built.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        listen, tell = multiprocessing.get_context("spawn").Pipe(duplex=False)
        child = multiprocessing.get_context("spawn").Process(target=build, args=(folder, rows, budget, tell))
        child.start()
        (folder / "built.json").write_text(json.dumps(listen.recv()))
        child.join()
    size = sum(path.stat().st_size for path in folder.glob("*") if path.name != "built.json")
    return VectorIndex(folder), {**json.loads((folder / "built.json").read_text()), "disk_bytes": size, "memory_bytes": size}


def measure(
    search: Callable[[Array, int], NDArray[np.int64]],
    asked: Array,
    truth: NDArray[np.int64],
    rounds: int = 3,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Any]:
    """Return what a search finds, its questions a second in a batch, and the milliseconds of one."""
    found = search(asked, DEPTH)
    seconds = []
    for _ in range(rounds):
        began = clock()
        search(asked, DEPTH)
        seconds.append(clock() - began)
    single = []
    for query in asked[: 200 if rounds > 1 else 10]:
        began = time.perf_counter()
        search(query[None], DEPTH)
        single.append(1e3 * (time.perf_counter() - began))
    first, tenth = recall(found, truth[: len(asked)])
    return {
        "recall_at_1": round(first, 4), "recall_at_10": round(tenth, 4), "qps": spread([len(asked) / s for s in seconds], 1),
        "single_ms": {"p50": round(float(np.median(single)), 3), "p95": round(float(np.quantile(single, 0.95)), 3)},
    }  # fmt: skip


def measure_peer(peer: Peer, asked: Array, truth: NDArray[np.int64]) -> dict[str, Any]:
    """Return what a peer finds and takes at the narrowest width that finds enough, or its widest."""
    some = asked[:100] if peer.slow else asked
    for width in peer.widths:
        first, tenth = recall(peer.search(some, DEPTH, width), truth[: len(some)])
        if first >= WANTED[0] and tenth >= WANTED[1]:
            break
    return {
        "width": width,
        **measure(lambda q, k: peer.search(q, k, width), some, truth, 1 if peer.slow else 3),
        "memory_bytes": peer.size_bytes(),
    }


def main() -> None:
    """Measure at one number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int)
    parser.add_argument("--work", type=Path, default=Path("runs/search"))
    parser.add_argument("--peers", choices=("all", "usual", "none"), default="usual")
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--memory-gb", type=float, default=8.0)
    parser.add_argument("--device", default="cpu", help="cuda: all rows on the GPU, too, and other libraries on theirs by h100.py")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rows, asked, truth, _ = draw(args.work, args.rows, args.questions)
    budget = Budget(max_memory_bytes=args.memory_gb * 1e9)
    index, built = ours(args.work, rows, budget)
    results = {"crossgeo": {**built, **measure(lambda q, k: index.search(q, k)[1], asked, truth)}}
    left_out = {}
    if args.device != "cpu":
        if (dtype := type_that_fits(*rows.shape, args.device)) is None:
            left_out["crossgeo, exact on the GPU"] = "it has no room for the rows"
        else:
            there = DeviceRows(rows, args.device, dtype)
            figures = measure(lambda q, k: there.search(q, k)[1], asked, truth, clock=time.perf_counter)
            size = rows.shape[0] * rows.shape[1] * dtype.itemsize
            results["crossgeo, exact on the GPU"] = {"memory_bytes": size, "rows_in": str(dtype), **figures}
    held = rows.read(0, args.rows) if args.peers != "none" and args.rows * rows.shape[1] * 4 < 8e9 else None
    if held is not None and processor.multiplies_bfloat16():
        scan = matrix_scan.MatrixScan(held)
        results["crossgeo, exact in bfloat16"] = {"memory_bytes": 6 * held.size, **measure(lambda q, k: scan.search(q, k)[1], asked, truth)}
        del scan

    def keep() -> None:
        record(f"search-{args.rows}{'' if args.device == 'cpu' else '-gpu'}", {
            "simulated": "descriptors and questions drawn by descriptor_model.py", "rows": args.rows, "questions": len(asked), "threads": 1,
            "results": results, "left_out": left_out,
        })  # fmt: skip

    keep()
    for name, (make, most) in peers(args.rows).items() if held is not None else ():
        if args.peers == "usual" and args.rows > most:
            left_out[name] = f"more than {most} rows: --peers all"
            continue
        try:
            began, cpu = time.perf_counter(), time.process_time()
            peer = make(held)
        except ImportError as error:
            left_out[name] = str(error)
            continue
        took = {"build_s": round(time.perf_counter() - began, 1), "build_cpu_s": round(time.process_time() - cpu, 1)}
        results[name] = {**took, **measure_peer(peer, asked, truth)}
        keep()
        del peer


if __name__ == "__main__":
    main()
