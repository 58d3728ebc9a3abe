"""The rows of h100.py: EgoTR's descriptors, AttenGeo's clicks, exact search, each beside its peers, with the floor and the bars.

The peers are the model as it is published, eager in bfloat16 (its weights cast once) and compiled, and for the scan FAISS's flat index on
the GPU and products with torch.topk. Weights are random: their values change neither the cost nor how far a lower precision may stray,
which is judged by the least cosine to float32.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from kernel_case import Builder, Case, Hosted, by_cosine, draws, on
from topk_cases import FAISS, topk_case
from torch import Tensor, nn

from crossgeo.engine.runtime.choose import RuntimeOptions, runtimes
from crossgeo.engine.runtime.half import Half
from crossgeo.engine.runtime.halves import describing, object_halves
from crossgeo.engine.runtime.torch import casting, made_ready
from crossgeo.models.attengeo import PRESETS as OBJECTS
from crossgeo.models.attengeo import AttenGeo
from crossgeo.models.cost import count_macs
from crossgeo.models.egotr import PRESETS as PLACES
from crossgeo.models.egotr import EgoTR
from crossgeo.models.fold import fold_branch
from crossgeo.models.views import DroneView

PEER = "eager bf16"
APART = 1e-3  # of the least cosine below 1
AUTOTUNE: list[bool] = []  # whether kernels of products are tried out, too, which takes minutes a model
Ways = dict[str, Callable[[], Any]]
Reached = Callable[[Mapping[str, Any], str], float | None]


@dataclass(frozen=True)
class Bar:
    """What a row must reach: at least, or at most."""

    what: str
    reached: Reached  # of a result's ways and the name of the best
    least: float | None = None
    most: float | None = None

    def told(self, ways: Mapping[str, Any], best: str | None) -> dict[str, Any]:
        """Return what was asked and reached; `met` is None where a peer is not here."""
        value = None if best is None else self.reached(ways, best)
        met = None if value is None else (value >= self.least if self.least is not None else value <= (self.most or 0.0))
        asked = {"at_least": self.least} if self.least is not None else {"at_most": self.most}
        return {"what": self.what, **asked, "reached": value, "met": met}


@dataclass(frozen=True)
class Row:
    """A row of the table: its case, the time under which no H100 can do it, and the bars."""

    build: Builder
    floor_ms: float
    bars: tuple[Bar, ...]


def ms(ways: Mapping[str, Any], best: str) -> float | None:
    """Return the milliseconds of the best."""
    return float(ways[best]["ms"]["median"])


def share(of: str) -> Reached:
    """Return what reads a share of a ceiling."""
    return lambda ways, best: float(ways[best][f"share_of_{of}"])


def faster_than(peer: str) -> Reached:
    """Return what says how many times faster the best is than a peer."""
    return lambda ways, best: float(ways[peer]["ms"]["median"] / ways[best]["ms"]["median"]) if "ms" in ways.get(peer, {}) else None


def cast(module: nn.Module, device: str, precision: str) -> Callable[..., Any]:
    """Return a call of a copy of a module as the torch runtimes run it."""
    ready = made_ready(copy.deepcopy(module), torch.device(device), precision)

    def call(*inputs: Tensor) -> Any:
        with casting(torch.device(device).type, precision):
            return ready(*inputs)

    return call


def both_ways(name: str, call: Callable[..., Any], given: tuple[Tensor, ...], device: str) -> Ways:
    """Return a call as it is and compiled; our graph about it is what "reduce-overhead" would make."""
    if device == "cpu":
        return {name: partial(call, *given)}
    ways = {name: partial(call, *given), f"{name}, torch.compile": partial(torch.compile(call, dynamic=False), *given)}
    if AUTOTUNE:
        ways[f"{name}, torch.compile, autotuned"] = partial(torch.compile(call, dynamic=False, mode="max-autotune-no-cudagraphs"), *given)
    return ways


def through_runtime(halves: list[Half], run: Callable[..., Any], batch: int, device: str) -> Hosted:
    """Return `run` of the halves' runtimes, made at the first call: from arrays to arrays, all copies included."""
    options = RuntimeOptions(runtime="torch" if device == "cpu" else "torch-compile", device=device, batch=batch)
    made = cache(lambda: runtimes(halves, options))
    return Hosted(lambda: torch.from_numpy(run(*made())))


def descriptors(branch: str, batch: int, device: str, tiny: bool) -> Case:
    """Images of one branch of EgoTR-B to descriptors."""
    config = PLACES["egotr-s" if tiny else "egotr-b"]
    if tiny:
        batch, config = 2, dataclasses.replace(config, layers=2)
    torch.manual_seed(0)
    plain: nn.Module = getattr(EgoTR(config).eval(), branch)
    folded = fold_branch(plain)  # type: ignore[arg-type]
    half = describing(folded, DroneView(size_px=folded.image_hw[0]), branch, (config.name, "0" * 64), "benchmark")
    shape = (batch, 3, *folded.image_hw)
    with torch.device("meta"):
        macs = count_macs(fold_branch(getattr(EgoTR(config).eval(), branch)), shape)
    images = draws(device, shape)[0].contiguous(memory_format=torch.channels_last)
    exact = cast(on("torch", plain), device, "fp32")
    arrays = images.cpu().numpy()
    ways = {
        **both_ways("ours", cast(half.module, device, "bf16"), (images,), device),
        "ours, from arrays to arrays": through_runtime([half], lambda runtime: runtime.run(arrays), batch, device),
        **both_ways(PEER, cast(on("torch", plain), device, "bf16"), (images,), device),
        "eager fp32": lambda: exact(images),
    }
    moved = sum(2 * tensor.numel() for tensor in (*folded.parameters(), images))
    return Case(f"{config.name} {branch}, {shape}", ways, by_cosine(lambda: exact(images)), APART, moved, 2 * macs)


def objects(cached: bool, device: str, tiny: bool) -> Case:
    """One click on one photo against a window of which nothing is known, or whose features are there."""
    config = OBJECTS["attengeo-s" if tiny else "attengeo"]
    torch.manual_seed(0)
    network = AttenGeo(config).eval()
    halves = object_halves(network, (config.name, "0" * 64))
    draw = torch.Generator().manual_seed(1)
    windows, photos = (
        torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8, generator=draw) for side in (config.window_px, config.photo_px)
    )
    clicks = torch.tensor([[0.4 * config.photo_px, 0.6 * config.photo_px]])
    windows, photos, clicks = (tensor.to(device) for tensor in (windows, photos, clicks))

    def chained(reference: Callable[..., Any], query: Callable[..., Any]) -> Callable[..., Any]:
        return lambda windows, photos, clicks: query(reference(windows)[0], photos, clicks)

    plain = [on("torch", half.module) for half in halves]
    exact = [cast(module, device, "fp32") for module in plain]
    with torch.inference_mode():
        features = exact[0](windows)[0]
    given = (features if cached else windows, photos, clicks)

    def whole(parts: list[Callable[..., Any]]) -> Callable[..., Any]:
        return parts[1] if cached else chained(*parts)

    arrays = [tensor.cpu().numpy() for tensor in given]

    def run(reference: Any, query: Any) -> Any:
        return query.run_all(arrays[0] if cached else reference.run_all(arrays[0])[0], *arrays[1:])[0]

    ways = {
        **both_ways("ours", whole([cast(half.module, device, "bf16") for half in halves]), given, device),
        "ours, from arrays to arrays": through_runtime(halves, run, 1, device),
        **both_ways(PEER, whole([cast(module, device, "bf16") for module in plain]), given, device),
        "eager fp32": partial(whole(exact), *given),
    }
    with torch.device("meta"):
        there = object_halves(AttenGeo(config).eval(), (config.name, "0" * 64))
        counted = whole([half.module for half in there])
        macs = count_macs(counted, *(tuple(tensor.shape) for tensor in given))
    used = halves[1:] if cached else halves
    moved = sum(2 * parameter.numel() for half in used[-1:] for parameter in half.module.parameters()) + sum(
        t.numel() * t.element_size() for t in given
    )
    what = f"{config.name}, {tuple(given[0].shape)} and a click on {tuple(photos.shape)}"
    return Case(what, ways, by_cosine(lambda: whole(exact)(*given)[0]), APART, moved, 2 * macs)


ROWS: dict[str, Row] = {
    "egotr-b aerial, batch 256": Row(
        partial(descriptors, "aerial", 256),
        18.2,
        (
            Bar("share of the measured matrix ceiling", share("matmul"), least=0.55),
            Bar(f"times faster than {PEER}", faster_than(PEER), least=3.0),
        ),
    ),
    "egotr-b query, batch 1": Row(partial(descriptors, "ground", 1), 0.13, (Bar("ms", ms, most=0.7),)),
    "attengeo, nothing cached": Row(partial(objects, False), 0.5, (Bar("ms", ms, most=2.0),)),
    "attengeo, reference cached": Row(partial(objects, True), 0.09, (Bar("ms", ms, most=0.6),)),
    **{
        f"exact top-10 scan, batch {batch}": Row(
            partial(topk_case, batch, torch.float16),
            5.1,
            (
                Bar("share of copy bandwidth", share("copy"), least=0.8),
                Bar("times faster than FAISS GPU flat", faster_than(FAISS), least=2.0),
            ),
        )
        for batch in (1, 256)
    },
}


def judged(row: Row, result: Mapping[str, Any]) -> dict[str, Any]:
    """Add the fastest of our ways that agree on the device's tensors, and whether it reaches the bars."""
    ways = result["ways"]
    own = [name for name, told in ways.items() if name.startswith(("ours", "triton")) and told["agrees"] and "arrays" not in name]
    best = min(own, key=lambda name: ways[name]["ms"]["median"], default=None)
    return {"floor_ms": row.floor_ms, "best": best, "bars": [bar.told(ways, best) for bar in row.bars], **result}
