"""The papers' ablations on street photos of simulated towns, at one small budget, several seeds; finished runs are kept.

python benchmarks/street_ablations.py egotr|attengeo [--steps N] [--seeds 1 2 3] [--variants NAME ...] [--finished] [--work DIR]
EgoTR: what its photos are placed on, attention, position embedding, fewer pairs; each judged in a town of a held-out style and in one of a
style that was trained on. AttenGeo: CVCAM, MHSAM, k = 1..5. All learn from the same pictures, drawn once; a seed changes weights and order.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import record
from numpy.typing import NDArray
from shipping import set_up
from torch import Tensor, nn
from town_scenery import TownScenery
from train_street import HELD_OUT_STYLES, KINDS, TOWN_M, sceneries

from crossgeo.models.attengeo import PRESETS as ATTENGEO
from crossgeo.models.attengeo import AttenGeo
from crossgeo.models.checkpoint import load_attengeo, load_egotr
from crossgeo.models.egotr import PRESETS as EGOTR
from crossgeo.models.egotr import EgoTR
from crossgeo.models.panorama import PanoramaView
from crossgeo.models.street_view import StreetObjectView, StreetView
from crossgeo.models.views import DroneView
from crossgeo.training.attengeo import AttenGeoTraining, ClickSource, evaluate_attengeo, train_attengeo
from crossgeo.training.egotr import EgoTRTraining, train_egotr
from crossgeo.training.evaluation.statistics import over_seeds
from crossgeo.training.grounds import usable_centres
from crossgeo.training.objects import held_out_batches
from crossgeo.training.render import World, render_tile
from crossgeo.training.sampling import SiteSampler, SiteSampling
from crossgeo.training.stream import BatchSource
from crossgeo.training.street import PanoramaCameras, StreetCameras, StreetErrors
from crossgeo.training.street_objects import StreetObjectSampler

TEST_TOWNS = {"held-out style": 9007, "trained style": 9013}
GROUND_HW, AERIAL_HW = (64, 256), (128, 128)  # half the papers', so that more steps fit
TOWNS = 10
SAMPLING = SiteSampling(groups=5)


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """Return what lies pickled at a path of our own work folder; make it first unless it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(pickle.dumps(make()))
        part.replace(path)
    return pickle.loads(path.read_bytes())


class KeptBatches:
    """A source (`stream.EpochSource`) of so many batches of another, each drawn once and kept in a folder; a seed orders them."""

    def __init__(self, source: Callable[[], BatchSource[Any]], folder: Path, count: int, seed: int) -> None:
        self.source, self.folder, self.count, self.seed = cache(source), folder, count, seed

    def batch_of(self, number: int) -> Any:
        """Return a batch; each comes once in every `count`."""
        epoch, step = divmod(number, self.count)
        row = int(np.random.default_rng([self.seed, epoch]).permutation(self.count)[step])
        return kept(self.folder / f"{row}.pickle", lambda: self.source().batch(np.random.default_rng([11, row])))


@dataclass(frozen=True)
class Variant:
    """One way to train EgoTR."""

    canvas: str = "ground"  # ground, panorama, polar
    switches: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0  # of the pairs
    longer: int = 1  # times the steps: panoramas begin to be told apart late


EGOTR_VARIANTS = {
    "ground": Variant(), "ground, self-attention": Variant(switches={"cross": False}),
    "ground, no position": Variant(switches={"position": False}),
    "ground, 20 % of the pairs": Variant(share=0.2), "ground, 40 %": Variant(share=0.4), "ground, 60 %": Variant(share=0.6),
    "panorama": Variant("panorama", longer=4), "polar": Variant("polar", longer=4),
}  # fmt: skip
ATTENGEO_VARIANTS: dict[str, dict[str, Any]] = {
    "baseline": {"cvcam": False, "mhsam": False}, "+ CVCAM": {"mhsam": False}, "+ CVCAM + MHSAM": {},
    **{f"k = {k}": {"iterations": k} for k in (1, 3, 4, 5)},
}  # fmt: skip


# What each variant is held against, seed by seed: pictures, their order and the first weights are then alike as far as they can be.
AGAINST = {
    **{name: "ground" for name in EGOTR_VARIANTS if name.startswith("ground, ")}, "polar": "panorama",
    "+ CVCAM": "baseline", "+ CVCAM + MHSAM": "+ CVCAM", **{f"k = {k}": "+ CVCAM + MHSAM" for k in (1, 3, 4, 5)},
}  # fmt: skip


def inputs(variant: Variant) -> tuple[Any, Callable[[NDArray[np.uint8]], Tensor], int, Any]:
    """Return the view of photos, how tiles become input, their size in pixels and the model's configuration."""
    shape = replace(EGOTR["egotr-s"], **variant.switches)
    if variant.canvas == "ground":
        return StreetView(), DroneView().normalise_tiles, DroneView().size_px, shape
    polar = variant.canvas == "polar"
    shape = replace(shape, ground_hw=GROUND_HW, aerial_hw=GROUND_HW if polar else AERIAL_HW, polar=polar)
    view = PanoramaView(shape.ground_hw, shape.aerial_hw, polar, DroneView().mean, DroneView().std)

    def tiles(pixels: NDArray[np.uint8]) -> Tensor:
        return view.normalise(np.stack([view.aerial_input(tile) for tile in pixels]))

    return view, tiles, AERIAL_HW[0], shape


@dataclass(frozen=True)
class Questions:
    """Panoramas of known heading in a town, and the tiles of a 10 m grid that they are looked for in; pixels of the town's ground."""

    shots: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]  # canvas and mask
    at: NDArray[np.float32]
    tiles: list[NDArray[np.uint8]]
    centres: NDArray[np.float32]
    gsd_m: float

    @classmethod
    def drawn(cls, seed: int, canvas: str, size_px: int, photos: int = 400) -> Questions:
        """Take the photos."""
        town, tile_view, rng = TownScenery.make(seed, TOWN_M), DroneView(size_px=size_px), np.random.default_rng(21)
        world = World(town.ground, 0, len(town.ground.scenes) - 1, 0.0, False)
        street = StreetCameras([town], StreetErrors(height_error=0.0, heading_error_deg=2.0, panorama_share=1.0))
        cameras = street if canvas == "ground" else PanoramaCameras(street, GROUND_HW)
        sites = street.sites(town.ground, tile_view)
        at = sites[rng.choice(len(sites), photos, replace=False)]
        shots = [cameras.shoot(world, (float(x), float(y)), tile_view, rng)[:2] for x, y in at]
        centres = usable_centres(town.ground, tile_view.extent_m / 2.0, 10.0)
        tiles = [render_tile(world, (float(x), float(y)), tile_view.extent_m, size_px) for x, y in centres]
        return cls(shots, at, tiles, centres, town.ground.gsd_m)


def begun(make: Callable[[], nn.Module], seed: int, shipped: nn.Module, part: str) -> dict[str, Tensor]:
    """Return weights drawn anew but for the part named, which is that of shipped drone weights: no variant changes it."""
    torch.manual_seed(seed)
    return make().state_dict() | {name: tensor for name, tensor in shipped.state_dict().items() if part in name}


def recall(model: EgoTR, variant: Variant, asked: Questions) -> dict[str, float]:
    """Return recall@1 within 25 m, of shifted headings as a control, and what chance finds."""
    view, normalise_tiles, _, _ = inputs(variant)
    rng = np.random.default_rng(22)

    def describe(branch: torch.nn.Module, batches: list[Tensor]) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return torch.cat([branch(batch) for batch in batches]).float()

    tiles = asked.tiles
    references = describe(model.aerial, [normalise_tiles(np.stack(tiles[k : k + 32])) for k in range(0, len(tiles), 32)])

    def turned(picture: NDArray[Any], quarter: int) -> NDArray[Any]:
        if variant.canvas == "ground":
            return np.ascontiguousarray(np.rot90(picture, quarter))
        return np.roll(picture, quarter * picture.shape[1] // 4, axis=1)

    def within(turn: bool) -> float:
        shown = [(turned(c, quarter), turned(m, quarter)) for c, m in asked.shots for quarter in [int(rng.integers(1, 4)) if turn else 0]]
        parts = [shown[k : k + 32] for k in range(0, len(shown), 32)]
        queries = describe(model.ground, [view.normalise(np.stack([c for c, _ in p]), np.stack([m for _, m in p])) for p in parts])
        scores = queries @ references.T
        best, wrong = (scores.masked_fill(~of, -2.0).amax(dim=1) for of in (near, ~near))
        return float((best > wrong).float().mean())  # a tie is no hit

    near = torch.from_numpy(np.linalg.norm(asked.centres - asked.at[:, None], axis=2) * asked.gsd_m <= 25.0)  # (photos, tiles)
    return {"recall_25_m": within(False), "heading_shifted": within(True), "chance": float(near.float().mean())}


def train_variant(name: str, seed: int, args: argparse.Namespace, out: Path) -> dict[str, float]:
    """Train one EgoTR and judge it."""
    variant = EGOTR_VARIANTS[name]
    view, normalise_tiles, size_px, shape = inputs(variant)
    pictures = args.work / ("ground" if variant.canvas == "ground" else "panoramas")

    def pairs() -> SiteSampler:
        towns = sceneries(201, TOWNS)
        cameras: Any = StreetCameras(towns)
        if variant.canvas != "ground":
            cameras = PanoramaCameras(cameras, GROUND_HW)
        return SiteSampler([town.ground for town in towns], DroneView(size_px=size_px), cameras, SAMPLING)

    source = KeptBatches(pairs, pictures, round(variant.share * args.batches), seed)
    how = EgoTRTraining(steps=args.steps * variant.longer, seed=seed, device=args.device, dense=False, tied_share=0.0, workers=0)
    begin = begun(lambda: EgoTR(shape), seed, load_egotr("egotr-s-drone").module, ".stem.")
    model = train_egotr(how, source, out, view=view, normalise_tiles=normalise_tiles, model_config=shape, start_from=begin, log=print)
    found: dict[str, float] = {}
    for style, town in TEST_TOWNS.items():
        asked = kept(pictures / f"town-{town}.pickle", lambda town=town: Questions.drawn(town, variant.canvas, size_px))
        found |= {f"{key}, {style}": value for key, value in recall(model.eval(), variant, asked).items()}
    return found


def train_boxes(name: str, seed: int, args: argparse.Namespace, out: Path) -> dict[str, float]:
    """Train one AttenGeo and judge it."""
    config = replace(ATTENGEO["attengeo-s-street"], **ATTENGEO_VARIANTS[name])
    view = StreetObjectView.from_dict(config.view.to_dict())
    how = AttenGeoTraining(steps=args.steps, seed=seed, device=args.device, workers=0)

    def clicks(towns: list[TownScenery]) -> StreetObjectSampler:
        return StreetObjectSampler(towns, view, KINDS)

    pictures = args.work / "clicks"
    source = KeptBatches(lambda: ClickSource(clicks(sceneries(201, TOWNS)), view, how.batch), pictures, args.batches, seed)
    begin = begun(lambda: AttenGeo(config), seed, load_attengeo("attengeo-s-drone").module, "backbone.")
    model = train_attengeo(how, source, out, model_config=config, start_from=begin, log=print)
    found: dict[str, float] = {}
    for style, town in TEST_TOWNS.items():
        judged = kept(
            pictures / f"town-{town}.pickle",
            lambda town=town: held_out_batches(clicks([TownScenery.make(town, TOWN_M)]), view, 500, 32, 22),
        )
        accuracy = evaluate_attengeo(model, judged, bf16=True)
        found |= {f"accu@0.25, {style}": accuracy.accu_25, f"accu@0.5, {style}": accuracy.accu_50}
    return found


def main() -> None:
    """Train and judge all variants of one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=("egotr", "attengeo"))
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batches", type=int, default=250, help="that are drawn, of 30 pairs or 16 clicks")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--variants", nargs="+", help="some of the variants, by name; all unless named")
    parser.add_argument("--finished", action="store_true", help="train nothing: record the runs that are finished")
    parser.add_argument("--work", type=Path, default=Path("runs/street-ablations"))
    args = parser.parse_args()
    set_up(args.threads)
    found: dict[str, dict[int, dict[str, float]]] = {}  # by variant and seed
    for name in args.variants or (EGOTR_VARIANTS if args.model == "egotr" else ATTENGEO_VARIANTS):
        for seed in args.seeds:
            out = args.work / f"{args.model}-{args.batches}-{''.join(c if c.isalnum() else '_' for c in name)}-{args.steps}-{seed}"
            done = out / "result.json"
            if not done.exists():
                if args.finished:
                    continue
                judged = (train_variant if args.model == "egotr" else train_boxes)(name, seed, args, out)
                done.write_text(json.dumps(judged))
            found.setdefault(name, {})[seed] = json.loads(done.read_text())
    about = {
        "simulated": f"street photos of towns; styles {', '.join(HELD_OUT_STYLES)} held out",
        "steps": args.steps,
        "batches": args.batches,
    }
    result = {name: every_seed(list(runs.values())) for name, runs in found.items()}
    differences: dict[str, Any] = {}
    for name, other in AGAINST.items():
        both = sorted(found.get(name, {}).keys() & found.get(other, {}).keys())
        rows = [{key: value - found[other][seed][key] for key, value in found[name][seed].items()} for seed in both]
        if rows:
            differences[f"{name}, less {other}"] = every_seed(rows)
    record(f"ablation-street-{args.model}", {**about, "result": result, "differences": differences})


def every_seed(runs: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return each figure with its seeds, their mean and its interval."""
    return {key: {"seeds": [run[key] for run in runs], **over_seeds([run[key] for run in runs]).to_json()} for key in runs[0]}


if __name__ == "__main__":
    main()
