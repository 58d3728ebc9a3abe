"""`geo train`: both models on drone views rendered from orthophotos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossgeo.commands import console, outputs
from crossgeo.commands.options import spread
from crossgeo.errors import UsageError

if TYPE_CHECKING:
    import torch

    from crossgeo.models.checkpoint import LoadedModel
    from crossgeo.training.grounds import Ground

Config = dict[str, Any]

app = typer.Typer(no_args_is_help=True, help="Train the models on your own imagery: drone views are rendered from it, with exact truth.")

StartFrom = Annotated[str, typer.Option(help='Weights to start from: a shipped name or a .safetensors file; "" for none.')]


@dataclass(frozen=True)
class Run:
    """What training either model asks for."""

    imagery: Annotated[list[Path], typer.Argument(help="Orthophotos: GeoTIFF, a folder of XYZ tiles, images with a world file.")]
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoint, log and, at the end, weights.safetensors.")]
    minutes: Annotated[float, typer.Option(min=0.1, max=1e6, help="How long to train; a rerun goes on where it stopped.")] = 60.0
    hold_out: Annotated[
        list[str] | None, typer.Option("--hold-out", help="W,S,E,N in degrees: ground never trained on; may be repeated.")
    ] = None
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and views.")] = 1
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes what torch takes.")] = 0

    def grounds(self, outlines: Sequence[Path] = ()) -> list[Ground]:
        """Look at the folder of the run, set up the machine and read the imagery."""
        held_out = _boxes(self.hold_out)
        outputs.check_folder(self.out, "--out")
        import cv2
        import torch

        from crossgeo.training.ground_sources import load_grounds

        torch.set_flush_denormal(True)
        cv2.setNumThreads(1)
        if self.threads:
            torch.set_num_threads(self.threads)
        return load_grounds(self.imagery, outlines, held_out=held_out)

    def save(
        self, kind: str, model: torch.nn.Module, config: Config, view: Config, grounds: Sequence[Ground], start: LoadedModel[Any] | None
    ) -> None:
        """Write the run's weights with their card."""
        from crossgeo.models.checkpoint import save_weights

        started_from = start.card["name"] if start else None
        card: Config = {"name": f"{kind}-{self.out.name}", "kind": kind, "config": config, "view": view}
        card["licence"] = "as the imagery's owner says"
        card["training"] = {"grounds": [g.name for g in grounds], "minutes": self.minutes, "seed": self.seed, "started_from": started_from}
        if start and "thresholds" in start.card:
            card["thresholds"] = start.card["thresholds"]
        path = self.out / "weights.safetensors"
        digest = save_weights(path, model.state_dict(), card)
        console.say(f"{path}: written, SHA-256 {digest[:12]}; build an index with `geo index build ... --weights` of it")


@app.command("egotr")
@spread
def egotr(run: Run, start_from: StartFrom = "egotr-s-drone") -> None:
    """Train the model that finds the place of a photo."""
    from crossgeo.models.checkpoint import load_egotr
    from crossgeo.models.views import DroneView
    from crossgeo.training.egotr import EgoTRTraining, train_egotr
    from crossgeo.training.render import Cameras
    from crossgeo.training.sampling import SiteSampler, SiteSampling

    start = load_egotr(start_from) if start_from else None
    grounds = run.grounds()
    state = start.module.state_dict() if start else None
    config = EgoTRTraining(minutes=run.minutes, seed=run.seed)
    source = SiteSampler(grounds, DroneView(), Cameras(), SiteSampling())
    model = train_egotr(config, source, run.out, start_from=state, log=console.say)
    run.save("egotr", model, model.config.to_dict(), DroneView().to_dict(), grounds, start)


@app.command("attengeo")
@spread
def attengeo(
    run: Run,
    outlines: Annotated[list[Path], typer.Option(help="Building outlines as GeoJSON (lon, lat); may be repeated.")],
    start_from: StartFrom = "attengeo-s-drone",
) -> None:
    """Train the model that finds the clicked object in the imagery."""
    from crossgeo.models.attengeo import PRESETS
    from crossgeo.models.checkpoint import load_attengeo
    from crossgeo.training.attengeo import AttenGeoTraining, ClickSource, train_attengeo
    from crossgeo.training.objects import ObjectSampler

    start = load_attengeo(start_from) if start_from else None
    grounds = run.grounds(outlines)
    state, model_config = (start.module.state_dict(), start.module.config) if start else (None, PRESETS["attengeo-s"])
    config = AttenGeoTraining(minutes=run.minutes, seed=run.seed)
    source = ClickSource(ObjectSampler(grounds, model_config.view), model_config.view, config.batch)
    model = train_attengeo(config, source, run.out, model_config=model_config, start_from=state, log=console.say)
    run.save("attengeo", model, model_config.to_dict(), model_config.view.to_dict(), grounds, start)


def _boxes(texts: list[str] | None) -> list[tuple[float, float, float, float]]:
    boxes = []
    for text in texts or []:
        try:
            west, south, east, north = (float(part) for part in text.split(","))
        except ValueError as error:
            raise UsageError(f"--hold-out {text!r} is not four numbers; give west,south,east,north in degrees") from error
        if not (-180.0 <= west < east <= 180.0 and -90.0 <= south < north <= 90.0):  # also refuses NaN
            raise UsageError(f"--hold-out {text!r} is no area on the earth; give west,south,east,north in degrees")
        boxes.append((west, south, east, north))
    return boxes
