"""The runtimes beside each other and beside torch as it comes, in one process: EgoTR's descriptors, AttenGeo's first and second click.

python benchmarks/engines.py [--device cpu|cuda] [--rounds N] [--only NAME ...] [--slow] [--minutes M]
On a processor one thread and process time; on a GPU the clock, after a synchronisation, from arrays to arrays (h100.py times what lies on
the card). The ceiling is a product of large bf16 matrices in the same rounds. Weights are random and pictures are drawn: what they are does
not change the cost. What a way answers is held against eager float32 by the least cosine. The record is written after every case, and what
it holds of this commit, machine and versions is not measured again.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import record, recorded, spread

from crossgeo.engine.runtime import Array, Runtime
from crossgeo.engine.runtime.backends import NAMES, backend
from crossgeo.engine.runtime.choose import AUTO, RuntimeOptions, choose, runtimes
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.engine.runtime.halves import describing, object_halves
from crossgeo.engine.runtime.timing import in_turn, own
from crossgeo.errors import GeoError
from crossgeo.models.attengeo import PRESETS as OBJECTS
from crossgeo.models.attengeo import AttenGeo
from crossgeo.models.cost import count_macs
from crossgeo.models.egotr import PRESETS as PLACES
from crossgeo.models.egotr import EgoTR
from crossgeo.models.fold import fold_branch
from crossgeo.models.views import DroneView

Call = Callable[[], object]
CASES = {  # name: preset, images at once on a processor, and on a GPU
    "egotr-b one image": ("egotr-b", 1, 1),
    "egotr-b batch": ("egotr-b", 8, 256),
    "egotr-s one image": ("egotr-s", 1, 1),
    "egotr-s batch": ("egotr-s", 32, 256),
    "attengeo": ("attengeo", 1, 1),
    "attengeo-s": ("attengeo-s", 8, 8),
}
CEILING = {"cpu": 2048, "cuda": 8192}  # side of the matrices


def describe_case(preset: str, batch: int, made: Callable[[list[Half], str], list[Runtime] | None]) -> dict[str, Any]:
    """Ways to describe `batch` images, and the work of one."""
    config = PLACES[preset]
    torch.manual_seed(0)
    plain = EgoTR(config).eval().aerial
    half = describing(fold_branch(plain), DroneView(size_px=config.aerial_hw[0]), "aerial", (preset, "0" * 64), "benchmark")
    (images,) = half.examples(pictures(batch))
    with torch.device("meta"):
        gmac = count_macs(fold_branch(EgoTR(config).eval().aerial), images.shape) / batch / 1e9
    calls: dict[str, Call] = {"eager fp32": eager(plain, images), "eager bf16": eager(plain, images, dtype=torch.bfloat16)}
    for name in NAMES:
        if (found := made([own(half)], name)) is not None:
            calls[name] = lambda runtime=found[0]: runtime.run_all(images)
    return {"calls": calls, "images": batch, "gmac": gmac}


def object_case(preset: str, batch: int, made: Callable[[list[Half], str], list[Runtime] | None]) -> dict[str, Any]:
    """Ways to answer `batch` clicks, on windows that nothing is known of and on windows that were seen."""
    config = OBJECTS[preset]
    torch.manual_seed(0)
    network = AttenGeo(config).eval()
    halves = object_halves(network, (preset, "0" * 64))
    drawn = pictures(batch)
    (windows,), (features, photos, clicks) = halves[0].examples(drawn), halves[1].examples(drawn)
    calls: dict[str, Call] = {"eager fp32": eager(network, windows, photos, clicks)}
    calls["eager bf16"] = eager(network, windows, photos, clicks, dtype=torch.bfloat16)
    for name in NAMES:
        found = made([own(half) for half in halves], name)
        if found is not None:
            calls[name] = lambda both=found: both[1].run_all(both[0].run_all(windows)[0], photos, clicks)
            calls[f"{name}, second click"] = lambda both=found: both[1].run_all(features, photos, clicks)
    return {"calls": calls, "images": batch}


def pictures(count: int) -> Pixels:
    """Draw (N, 256, 256, 3) uint8 pictures that differ at every scale, as ground does."""
    draw = torch.Generator().manual_seed(2)
    drawn = torch.zeros(count, 3, 256, 256)
    for side in (4, 8, 16, 32, 64, 128, 256):
        grid = torch.randn(count, 3, side, side, generator=draw)
        drawn += F.interpolate(grid, size=(256, 256), mode="bilinear") * side**-0.5
    return (128.0 + 48.0 * drawn).clamp(1, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def eager(module: torch.nn.Module, *inputs: Any, dtype: torch.dtype | None = None) -> Call:
    """Torch as a user would call it, the published implementation's cost."""
    device, at = next(module.parameters()).device, torch.device(ARGS.device)
    module = copy.deepcopy(module).to(at) if device != at else module
    given = [torch.from_numpy(rows).to(at) for rows in inputs]

    def call() -> object:
        with torch.inference_mode(), torch.autocast(at.type, torch.bfloat16, enabled=dtype is not None):
            return module(*given)

    return call


def maker(folder: Path, batch: int) -> Callable[[list[Half], str], list[Runtime] | None]:
    """Return what makes a runtime by name, in the precision that it takes by itself; None where it does not run here."""

    def made(halves: list[Half], name: str) -> list[Runtime] | None:
        if name == "torch-compile" and not ARGS.slow and ARGS.device == "cpu":
            return None
        if backend(name).missing(ARGS.device) is not None:
            return None
        options = RuntimeOptions(runtime=name, device=ARGS.device, batch=batch, folder=folder)
        try:
            return runtimes(halves, options, lambda: pictures(8))
        except GeoError as error:
            print(f"{name}: {error}")
            return None

    return made


def main() -> None:
    """Time every case and record it."""
    torch.set_num_threads(ARGS.threads)
    side = CEILING["cpu" if ARGS.device == "cpu" else "cuda"]
    a, b = (torch.randn(side, side, dtype=torch.bfloat16, device=ARGS.device) for _ in range(2))
    default = choose(RuntimeOptions(runtime=AUTO, device=ARGS.device))
    clock = "process time" if ARGS.device == "cpu" else "the clock, synchronised"
    device = "" if ARGS.device == "cpu" else f", {torch.cuda.get_device_name()}"
    about = {
        "clock": f"{clock}, {ARGS.threads} thread(s){device}",
        "rounds": ARGS.rounds,
        "default": f"{default.backend} {default.precision}",
        "versions_of_runtimes": versions(),
    }
    name_of = "engines-gpu" if ARGS.device != "cpu" else "engines-slow" if ARGS.slow else "engines"
    ends = time.monotonic() + 60.0 * ARGS.minutes
    rows = {row["case"]: row for row in recorded(name_of, **about).get("cases", [])}
    for name in ARGS.only or CASES:
        if name in rows or time.monotonic() > ends:
            continue
        preset, on_cpu, on_gpu = CASES[name]
        batch = on_cpu if ARGS.device == "cpu" else on_gpu
        with tempfile.TemporaryDirectory() as folder:
            case = (describe_case if preset in PLACES else object_case)(preset, batch, maker(Path(folder), batch))
            given = {way: answer(call()) for way, call in case["calls"].items()}
            seconds = in_turn({**case["calls"], "ceiling": lambda: torch.mm(a, b)}, ARGS.rounds, ARGS.device)
        ceiling = seconds.pop("ceiling")
        ways: dict[str, dict[str, Any]] = {
            way: {
                "ms_per_image": spread([1e3 * s / batch for s in own_s], 3),
                "times_faster_than_eager_fp32": spread([e / s for e, s in zip(seconds["eager fp32"], own_s, strict=True)], 3),
                "times_faster_than_eager_bf16": spread([e / s for e, s in zip(seconds["eager bf16"], own_s, strict=True)], 3),
                "least_cosine_to_eager_fp32": round(least_cosine(given[way], given["eager fp32"]), 6),
            }
            for way, own_s in seconds.items()
        }
        if "gmac" in case:
            for way, own_s in seconds.items():
                reached = [case["gmac"] * 2e9 * batch / s / (2.0 * side**3 / c) for s, c in zip(own_s, ceiling, strict=True)]
                ways[way]["share_of_the_bf16_ceiling"] = spread(reached, 3)
        row = {"case": name, "preset": preset, "images_at_once": batch, "default": default.backend, "ways": ways}
        row["left_out"] = left_out()
        row["ceiling_bf16_tflops"] = spread([2.0 * side**3 / c / 1e12 for c in ceiling], 3)
        print(name, {way: told["times_faster_than_eager_fp32"]["median"] for way, told in ways.items()}, flush=True)
        rows[name] = row
        record(name_of, {**about, "cases": list(rows.values())})


def answer(found: Any) -> Array:
    """Return the first output of a call as an array."""
    first = found[0] if isinstance(found, tuple) else found
    return first.float().cpu().numpy() if isinstance(first, torch.Tensor) else first


def least_cosine(found: Array, truth: Array) -> float:
    """Return the least cosine of an answer's rows to those of another."""
    one, two = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (found, truth))
    return float(((one * two).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)).min())


def left_out() -> dict[str, str]:
    """Say why runtimes do not run on this device."""
    return {name: why for name in NAMES if (why := backend(name).missing(ARGS.device)) is not None}


def versions() -> dict[str, str]:
    """The versions of the back ends that run here."""
    return {name: backend(name).version() for name in NAMES if backend(name).missing(ARGS.device) is None}


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(CASES))
    parser.add_argument("--minutes", type=float, default=600.0, help="no case is begun after so many")
    parser.add_argument(
        "--slow", action="store_true", help="torch-compile on a processor, too, which takes minutes to warm; kept as engines-slow.json"
    )
    return parser.parse_args()


ARGS = parsed() if __name__ == "__main__" else argparse.Namespace(device="cpu", rounds=2, threads=1, only=None, slow=False, minutes=600.0)
if __name__ == "__main__":
    main()
