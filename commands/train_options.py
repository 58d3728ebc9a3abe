"""What `geo train egotr` and `geo train attengeo` ask alike, and getting the machine ready for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossgeo.commands import console, devices, outputs, parse
from crossgeo.commands.options import DATA_LAYOUTS
from crossgeo.errors import UsageError

if TYPE_CHECKING:
    from crossgeo.training.grounds import Ground
    from crossgeo.training.task import LoopSettings

SOURCE, LENGTH, MACHINE = "What to train on", "How", "Machine"
RENDERED_MINUTES = 60.0


class Recipe(StrEnum):
    """Recipes by name."""

    PAPER = "paper"
    STRONG = "strong"


@dataclass(frozen=True)
class Run:
    """One run."""

    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoint, log, curves and, at the end, weights.safetensors.")]
    orthophotos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGERY", help="Orthophotos: GeoTIFF, a folder of XYZ tiles, images with a world file."),
    ] = None
    imagery: Annotated[list[Path] | None, typer.Option(help="The same as an option; may be repeated.", rich_help_panel=SOURCE)] = None
    data: Annotated[Path | None, typer.Option(help="Folder of a data set of pairs, instead.", rich_help_panel=SOURCE)] = None
    layout: Annotated[
        str | None,
        typer.Option(help=f"Its layout: {DATA_LAYOUTS}; else its files tell.", rich_help_panel=SOURCE),
    ] = None
    split: Annotated[str, typer.Option(help="Which split of it is trained on.", rich_help_panel=SOURCE)] = "train"
    share: Annotated[
        float, typer.Option(help="Share of the split's pairs to train on, above 0, drawn by the seed.", rich_help_panel=SOURCE)
    ] = 1.0
    hold_out: Annotated[
        list[str] | None,
        typer.Option("--hold-out", help="W,S,E,N in degrees: ground never trained on; may be repeated.", rich_help_panel=SOURCE),
    ] = None
    recipe: Annotated[
        Recipe | None,
        typer.Option(help="The paper's recipe or a stronger one; else as the shipped weights were made.", rich_help_panel=LENGTH),
    ] = None
    preset: Annotated[str | None, typer.Option(help="Model to start anew, without --start-from.", rich_help_panel=LENGTH)] = None
    imagenet: Annotated[
        str | None,
        typer.Option(
            help="ImageNet weights that a preset of the papers starts from, a name that `geo weights list` shows or a published file: "
            "timm's vit_base_r50_s16_224.orig_in21k (the egotr-b presets) or convnextv2_tiny (the attengeo presets but the small).",
            rich_help_panel=LENGTH,
        ),
    ] = None
    minutes: Annotated[
        float | None, typer.Option(min=0.1, max=1e6, help="How long to train; a rerun goes on where it stopped.", rich_help_panel=LENGTH)
    ] = None
    steps: Annotated[int | None, typer.Option(min=1, help="How many batches, instead.", rich_help_panel=LENGTH)] = None
    epochs: Annotated[float | None, typer.Option(min=0.01, help="How often through the pairs, instead.", rich_help_panel=LENGTH)] = None
    batch: Annotated[int | None, typer.Option(min=2, max=100_000, help="Pairs or clicks a batch.", rich_help_panel=LENGTH)] = None
    lr: Annotated[float | None, typer.Option(min=1e-8, max=1.0, help="Highest learning rate.", rich_help_panel=LENGTH)] = None
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and batches.", rich_help_panel=LENGTH)] = 1
    device: Annotated[str, typer.Option(help=devices.HELP, rich_help_panel=MACHINE)] = "auto"
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes what torch takes.", rich_help_panel=MACHINE)] = 0
    workers: Annotated[int, typer.Option(min=0, max=256, help="Processes that draw batches ahead.", rich_help_panel=MACHINE)] = 1

    def imageries(self) -> list[Path]:
        """Return imagery given either way."""
        return [*(self.orthophotos or ()), *(self.imagery or ())]

    def check(self) -> None:
        """Raise UsageError for what does not go together, InputError for a folder that cannot be written."""
        if bool(self.data) == bool(self.imageries()):
            raise UsageError("train on imagery or on a data set: give orthophotos, or --data DIR, and not both")
        if self.data is None and self.layout is not None:
            raise UsageError("--layout is of a data set; give that with --data DIR")
        if not 0.0 < self.share <= 1.0:
            raise UsageError(f"--share {self.share:g} is no share of the pairs; give one above 0 and up to 1")
        if self.data is None and self.share != 1.0:
            raise UsageError("--share is of a data set's pairs; give that with --data DIR")
        if self.data is not None and self.hold_out:
            raise UsageError("--hold-out is for imagery; a data set has splits of its own, chosen with --split")
        outputs.check_folder(self.out, "--out")

    def check_start(self, start_from: str | None) -> None:
        """Raise UsageError where a run would start both anew and from weights."""
        if self.preset is not None and start_from:
            raise UsageError("--preset starts a model anew and --start-from goes on from weights; give one of them")
        if self.imagenet is not None and self.preset is None:
            raise UsageError("--imagenet is what a model that starts anew begins with; say which with --preset")

    def shipped(self, weights: str) -> str:
        """Return the shipped weights that a run on imagery starts from, none where a preset is asked for."""
        return "" if self.preset is not None else weights

    def ready(self) -> str:
        """Set up the machine, join other processes where torchrun started several, and return the device."""
        import cv2
        import torch

        from crossgeo.training import distributed

        torch.set_flush_denormal(True)
        cv2.setNumThreads(1)
        if self.threads:
            torch.set_num_threads(self.threads)
        device = devices.device_of(self.device)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            device = distributed.join(device, int(os.environ.get("LOCAL_RANK", "0")))
        return device

    def grounds(self, outlines: Sequence[Path] = ()) -> list[Ground]:
        """Read the imagery."""
        held_out = [parse.area(text, "--hold-out") for text in self.hold_out or ()]
        from crossgeo.training.ground_sources import load_grounds

        return load_grounds(self.imageries(), outlines, held_out=held_out)

    def say(self) -> Callable[[str], None] | None:
        """Return what prints a line of the log; None in all processes but the first."""
        from crossgeo.training import distributed

        return console.say if distributed.rank() == 0 else None

    def about(self, settings: LoopSettings, data: Any) -> dict[str, Any]:
        """Return what the card says of the run."""
        training = {"data": data, "recipe": self.recipe.value if self.recipe else "as shipped", "seed": self.seed}
        lengths = {"minutes": settings.minutes, "steps": settings.steps}
        training |= {name: value for name, value in lengths.items() if value != float("inf")}
        if self.imagenet is not None:
            training["imagenet"] = Path(self.imagenet).name
        owner = "the imagery's owner" if self.data is None else "the data set's owner"
        return {"name": self.out.name, "licence": f"as {owner} says", "training": training}
