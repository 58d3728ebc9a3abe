"""`geo train`: both models on drone views rendered from orthophotos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crossgeo.commands import console

app = typer.Typer(no_args_is_help=True, help="Train the models on your own imagery: drone views are rendered from it, with exact truth.")

Imagery = Annotated[list[Path], typer.Argument(help="Orthophotos: GeoTIFF, a folder of XYZ tiles, images with a world file.")]
Out = Annotated[Path, typer.Option(help="Folder of the run: checkpoint, log and, at the end, weights.safetensors.")]
Minutes = Annotated[float, typer.Option(min=0.1, help="How long to train; a rerun goes on where it stopped.")]
HoldOut = Annotated[list[str] | None, typer.Option("--hold-out", help="W,S,E,N in degrees: ground never trained on; may be repeated.")]
StartFrom = Annotated[str | None, typer.Option(help="Weights to start from: a shipped name or a .safetensors file.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of weights and views.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes what torch takes.")]


@app.command("egotr")
def egotr(
    imagery: Imagery,
    out: Out,
    minutes: Minutes = 60.0,
    hold_out: HoldOut = None,
    start_from: StartFrom = "egotr-s-drone",
    seed: Seed = 1,
    threads: Threads = 0,
) -> None:
    """Train the model that finds the place of a photo."""
    from crossgeo.models.checkpoint import load_egotr, save_weights
    from crossgeo.models.views import DroneView
    from crossgeo.training.egotr import EgoTRTraining, train_egotr
    from crossgeo.training.ground_sources import load_grounds

    _prepare(threads)
    grounds = load_grounds(imagery, held_out=_boxes(hold_out))
    start = load_egotr(start_from) if start_from else None
    config = EgoTRTraining(minutes=minutes, seed=seed)
    model = train_egotr(config, grounds, out, start_from=start.module.state_dict() if start else None, log=console.say)
    view = DroneView().to_dict()
    card = _card(out, "egotr", model.config.to_dict(), view, [g.name for g in grounds], minutes, seed, start.card if start else None)
    _done(out, save_weights(out / "weights.safetensors", model.state_dict(), card))


@app.command("attengeo")
def attengeo(
    imagery: Imagery,
    outlines: Annotated[list[Path], typer.Option(help="Building outlines as GeoJSON (lon, lat); may be repeated.")],
    out: Out,
    minutes: Minutes = 60.0,
    hold_out: HoldOut = None,
    start_from: StartFrom = "attengeo-s-drone",
    seed: Seed = 1,
    threads: Threads = 0,
) -> None:
    """Train the model that finds the clicked object in the imagery."""
    from crossgeo.models.checkpoint import load_attengeo, save_weights
    from crossgeo.training.attengeo import AttenGeoTraining, train_attengeo
    from crossgeo.training.ground_sources import load_grounds
    from crossgeo.training.objects import ObjectSampler

    _prepare(threads)
    grounds = load_grounds(imagery, outlines, held_out=_boxes(hold_out))
    start = load_attengeo(start_from) if start_from else None
    from crossgeo.models.attengeo import PRESETS

    model_config = start.module.config if start else PRESETS["attengeo-s"]
    sampler = ObjectSampler(grounds, model_config.view)
    config = AttenGeoTraining(minutes=minutes, seed=seed)
    state = start.module.state_dict() if start else None
    model = train_attengeo(config, sampler, out, model_config=model_config, start_from=state, log=console.say)
    view = model_config.view.to_dict()
    card = _card(out, "attengeo", model_config.to_dict(), view, [g.name for g in grounds], minutes, seed, start.card if start else None)
    _done(out, save_weights(out / "weights.safetensors", model.state_dict(), card))


def _prepare(threads: int) -> None:
    import cv2
    import torch

    torch.set_flush_denormal(True)
    cv2.setNumThreads(1)
    if threads:
        torch.set_num_threads(threads)


def _boxes(texts: list[str] | None) -> list[tuple[float, float, float, float]]:
    boxes = []
    for text in texts or []:
        try:
            west, south, east, north = (float(part) for part in text.split(","))
        except ValueError as error:
            raise typer.BadParameter(f"{text!r} is not W,S,E,N in degrees", param_hint="--hold-out") from error
        if west >= east or south >= north:
            raise typer.BadParameter(f"{text!r} has no area; give west, south, east, north", param_hint="--hold-out")
        boxes.append((west, south, east, north))
    return boxes


def _card(
    out: Path,
    kind: str,
    config: dict[str, Any],
    view: dict[str, Any],
    grounds: list[str],
    minutes: float,
    seed: int,
    start: dict[str, Any] | None,
) -> dict[str, Any]:
    card: dict[str, Any] = {"name": f"{kind}-{out.name}", "kind": kind, "config": config, "view": view}
    card["licence"] = "as the imagery's owner says"
    started_from = start["name"] if start else None
    card["training"] = {"grounds": grounds, "minutes": minutes, "seed": seed, "started_from": started_from}
    if start and "thresholds" in start:
        card["thresholds"] = start["thresholds"]
    return card


def _done(out: Path, digest: str) -> None:
    console.say(f"{out / 'weights.safetensors'}: written, SHA-256 {digest[:12]}; build an index with `geo index build ... --weights` of it")
