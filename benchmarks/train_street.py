"""How the shipped street weights were made: in simulated towns, a ground branch against the shipped aerial one, and AttenGeo.

python benchmarks/train_street.py egotr|attengeo --minutes 80 --out runs/street [--workers N] [--seed N] [--towns N] [--start-from NAME]
python benchmarks/train_street.py ship --kind egotr --out runs/street     writes models/weights/ from the run's checkpoint
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
from shipping import lengths, recipe_options, set_up, ship_weights
from town_scenery import TownScenery

from crossgeo.models.attengeo import PRESETS as ATTENGEO
from crossgeo.models.checkpoint import load_attengeo, load_egotr, load_street_branch, read_card
from crossgeo.models.street_view import StreetObjectView, StreetView
from crossgeo.models.views import DroneView
from crossgeo.town.style import draw_style
from crossgeo.training.attengeo import AttenGeoTraining, ClickSource, train_attengeo
from crossgeo.training.egotr import EgoTRTraining, train_egotr
from crossgeo.training.objects import held_out_batches
from crossgeo.training.sampling import SiteSampler, SiteSampling
from crossgeo.training.saving import trained_model
from crossgeo.training.street import StreetCameras
from crossgeo.training.street_objects import StreetObjectSampler

AERIAL = "egotr-s-drone"
HELD_OUT_STYLES = ("temperate", "nordic")  # of the towns that are asked about; the aerial branch has never seen the first
HELD_OUT_TOWN = 9008
TOWN_M = 400.0
KINDS = {"building": 0.65, "tree": 0.35}
NOTHING_SHARE = 0.1  # of clicks


def sceneries(first: int, count: int) -> list[TownScenery]:
    """Raise the first so many towns from a seed on whose style is not held out."""
    out: list[TownScenery] = []
    seed = first
    while len(out) < count:
        if draw_style(np.random.default_rng([seed, 7341])).name not in HELD_OUT_STYLES:
            out.append(TownScenery.make(seed, TOWN_M))
        seed += 1
    return out


def train_branch(args: argparse.Namespace, towns: list[TownScenery]) -> None:
    """Train the ground branch; the aerial one stays as it is."""
    partner = load_egotr(AERIAL).module.float()
    begun = {f"aerial.{name}": tensor for name, tensor in partner.aerial.state_dict().items()}
    ground = load_street_branch(args.start_from).module if args.start_from else partner.ground
    begun |= {f"ground.{name}": tensor for name, tensor in ground.float().state_dict().items()}
    sampler = SiteSampler([town.ground for town in towns], DroneView(), StreetCameras(towns), SiteSampling())
    run = EgoTRTraining(
        minutes=args.minutes, seed=args.seed, device=args.device, workers=args.workers, trained="ground", lr=args.lr, stem_lr=0.5 * args.lr
    )
    train_egotr(run, sampler, args.out, view=StreetView(), start_from=begun, log=print)


def train_objects(args: argparse.Namespace, towns: list[TownScenery]) -> None:
    """Train AttenGeo on street clicks, from the drone's weights unless told."""
    config = ATTENGEO["attengeo-s-street"]
    view = StreetObjectView.from_dict(config.view.to_dict())
    begun = load_attengeo(args.start_from or "attengeo-s-drone").module.float().state_dict()
    draw = StreetObjectSampler(towns, view, KINDS, nothing_share=NOTHING_SHARE)
    asked = StreetObjectSampler([TownScenery.make(HELD_OUT_TOWN, TOWN_M)], view, KINDS, nothing_share=0.25)
    held = held_out_batches(asked, view, 256, 32, 7)
    run = AttenGeoTraining(minutes=args.minutes, steps=math.inf, seed=args.seed, device=args.device, workers=args.workers)
    train_attengeo(run, ClickSource(draw, view, run.batch), args.out, model_config=config, start_from=begun, held_out=held, log=print)


def ship(args: argparse.Namespace) -> None:
    """Write the shipped file of a run."""
    state, saved = trained_model(args.out / "checkpoint.pt")
    partner = read_card(AERIAL)
    card: dict[str, Any] = {
        "credits": partner["credits"],
        "training": {
            "data": f"street photos of simulated towns from seed {args.first_town}",
            "held_out": f"towns from seed 9000 and of the styles {', '.join(HELD_OUT_STYLES)}", **lengths(saved),
            "recipe": "benchmarks/train_street.py",
        },
    }  # fmt: skip
    if args.kind == "egotr":
        card |= {"kind": "egotr-street", "config": partner["config"], "view": StreetView().to_dict()}
        card["aerial"] = {"name": AERIAL, "sha256": partner["digest"]}
        state = {key.removeprefix("ground."): tensor for key, tensor in state.items() if key.startswith("ground.")}
    else:
        config = ATTENGEO["attengeo-s-street"]
        card |= {"kind": "attengeo", "config": config.to_dict(), "view": config.view.to_dict()}
    ship_weights(f"{args.kind}-s-street", state, card, args.thresholds, args.start_from)


def main() -> None:
    """Train or ship."""
    parser = recipe_options(__doc__, threads=1)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--first-town", type=int, default=201)
    parser.add_argument("--towns", type=int, default=12)
    args = parser.parse_args()
    if args.what == "ship":
        ship(args)
        return
    set_up(args.threads)
    towns = sceneries(args.first_town, args.towns)
    (train_branch if args.what == "egotr" else train_objects)(args, towns)


if __name__ == "__main__":
    main()
