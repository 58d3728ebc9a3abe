"""What the recipes of the shipped weights share: their options, the machine made ready, and a run's weights written as a shipped file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

from crossgeo.models.checkpoint import read_card, save_weights

WEIGHTS = Path(__file__).resolve().parents[1] / "models" / "weights"


def recipe_options(about: str | None, threads: int) -> argparse.ArgumentParser:
    """Return the options that every recipe has; `threads` is how many it takes unless told."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("what", choices=("egotr", "attengeo", "ship"))
    parser.add_argument("--kind", choices=("egotr", "attengeo"), default="egotr")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=80.0)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start-from", help="weights, by shipped name or path, to go on from")
    parser.add_argument(
        "--thresholds", type=float, nargs="+", metavar="SCORE MARGIN [NARROW_SCORE] | CONFIDENCE", help="of places, or of boxes"
    )
    return parser


def set_up(threads: int) -> None:
    """Make the machine ready to train."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)


def lengths(saved: Mapping[str, Any]) -> dict[str, float]:
    """Return how long the run of a checkpoint was."""
    return {"steps": saved["step"], "minutes": round(saved["elapsed_s"] / 60, 1)}


def ship_weights(
    name: str, state: Mapping[str, torch.Tensor], card: Mapping[str, Any], thresholds: Sequence[float] | None, start_from: str | None
) -> None:
    """Write the shipped file of a name; thresholds are kept from the file that it replaces unless given.

    The card says what was trained; name, licence, thresholds and, after `start_from`, how those weights were trained are added here.
    """
    path = WEIGHTS / f"{name}.safetensors"
    card = {**card, "name": name, "licence": "Apache-2.0"}
    if start_from:
        card["training"] = {**card["training"], "went_on_from": read_card(start_from)["training"]}
    if thresholds:
        names = ("confidence",) if card["kind"] == "attengeo" else ("score", "margin", "narrow_score")
        card["thresholds"] = dict(zip(names, thresholds, strict=False))
    elif path.exists() and "thresholds" in (old := read_card(path)):
        card["thresholds"] = old["thresholds"]
    print(path.name, save_weights(path, state, card), card["training"])
