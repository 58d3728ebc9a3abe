"""Training of EgoTR: both branches, or the ground branch against an aerial branch that stays as it is, from any source of batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn

from crossgeo.models.efficientnet_lite import EfficientNetLite
from crossgeo.models.egotr import PRESETS, EgoTR, EgoTRConfig
from crossgeo.models.views import DroneView, Image, Mask
from crossgeo.training.contrastive import metric_contrastive_loss
from crossgeo.training.dense import DenseLoss, batch_dense_loss
from crossgeo.training.loop import LoopSettings, Task, train
from crossgeo.training.memory import keep_freed_memory
from crossgeo.training.sampling import Batch
from crossgeo.training.stream import BatchSource


class PhotoView(Protocol):
    """How photos become input: `DroneView`, `StreetView`."""

    @property
    def extent_m(self) -> float:
        """Side of the ground that a canvas shows, in metres."""
        ...

    def normalise(self, images: Image, masks: Mask | None = None) -> Tensor:
        """Turn (B, H, W, 3) uint8 images into (B, 3, H, W) float32; masked pixels become 0, the mean."""
        ...


@dataclass(frozen=True)
class EgoTRTraining(LoopSettings):
    """One run."""

    preset: str = "egotr-s"
    trained: Literal["both", "ground"] = "both"  # "ground": the aerial branch stays as it is, to the bit
    lr: float = 8e-4
    stem_lr: float = 2e-4
    tied_share: float = 0.75  # of the budget in which both branches are one network (each then learns from both views), before they part
    frozen_blocks: int = 3  # of the stem: its first features (to stride 4) are general enough, and cost most of a backward pass
    dense: bool = True  # train the stem's maps for registration, too, where the stem has them (EfficientNet-Lite0)
    temperature: float = 0.06


class EgoTRTask(Task[Batch]):
    """EgoTR and a learned temperature; while tied the ground branch serves both views."""

    def __init__(self, config: EgoTRTraining, model: EgoTR, view: PhotoView, normalise_tiles: Callable[[Image], Tensor]) -> None:
        super().__init__()
        self.config, self.view, self.normalise_tiles = config, view, normalise_tiles
        self.model: EgoTR = model
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))
        self.dense = DenseLoss() if config.dense and model.config.stem == "efficientnet-lite0" else None
        self.identity = {"name": model.config.name, **model.config.to_dict(), "trained": config.trained, "seed": config.seed}
        self.tied_share = config.tied_share if model.config.ground_hw == model.config.aerial_hw and config.trained == "both" else 0.0
        self.tied = self.tied_share > 0.0
        for branch in (model.ground, model.aerial):
            stem = branch.stem
            if isinstance(stem, EfficientNetLite) and config.frozen_blocks:
                for module in (stem.stem, *list(stem.blocks)[: config.frozen_blocks]):
                    module.requires_grad_(False)
        if config.trained == "ground":
            model.aerial.requires_grad_(False)

    def train(self, mode: bool = True) -> EgoTRTask:
        """Switch dropout on or off; an aerial branch that is not trained never drops."""
        super().train(mode)
        if self.config.trained == "ground":
            self.model.aerial.eval()
        return self

    def groups(self) -> list[dict[str, Any]]:
        """Return the stems, matrices, vectors (not decayed) and the temperature."""
        config = self.config
        stems = [p for b in (self.model.ground, self.model.aerial) for p in b.stem.parameters() if p.requires_grad]
        in_stem = {id(p) for p in stems}
        others = [p for p in self.model.parameters() if p.requires_grad and id(p) not in in_stem]
        return [
            {"params": stems, "lr": config.stem_lr},
            {"params": [p for p in others if p.ndim > 1], "lr": config.lr},
            {"params": [p for p in others if p.ndim <= 1], "lr": config.lr, "weight_decay": 0.0},
            {"params": [self.log_temperature], "lr": 1e-3, "weight_decay": 0.0, "clip": False},
        ]

    def begin(self, done: float) -> None:
        """Part the branches when their time as one is over."""
        if self.tied and done >= self.tied_share:
            self.settle()
            self.tied = False

    def settle(self) -> None:
        """Give the aerial branch what the one network has learned."""
        if self.tied:
            self.model.aerial.load_state_dict(self.model.ground.state_dict())

    def get_extra_state(self) -> dict[str, bool]:
        """Whether the branches are still one."""
        return {"tied": self.tied}

    def set_extra_state(self, state: dict[str, bool]) -> None:
        """Go on as one, or apart."""
        self.tied = state["tied"]

    def learn(self, batch: Batch) -> dict[str, Tensor]:
        """Leave the gradients of a batch; return its loss and, where maps are trained, theirs in it."""
        device = self.log_temperature.device
        photos = self.view.normalise(batch.views, batch.masks).to(device)  # (B, 3, S, S)
        tiles = self.normalise_tiles(batch.tiles).to(device)  # (B, 3, S, S)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.bf16):
            ground, aerial, own, over = self._describe(photos, tiles)
        distance, ignore = torch.from_numpy(batch.distance_m).to(device), torch.from_numpy(batch.ignore).to(device)
        loss = metric_contrastive_loss(ground, aerial, distance, ignore, self.log_temperature.exp())
        parts = {}
        if self.dense is not None:
            maps = batch_dense_loss(own, over, batch, self.view.extent_m, self.dense)
            loss, parts["maps"] = loss + maps, maps.detach()
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.detach(), **parts}

    def _describe(self, photos: Tensor, tiles: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return both (B, D) descriptors and both branches' maps (none unless they are trained)."""
        model = self.model
        if self.tied:
            if self.dense is None:
                ground, aerial = model.ground(torch.cat([photos, tiles])).chunk(2)
                return ground, aerial, (), ()
            both, maps = model.ground.with_maps(torch.cat([photos, tiles]))
            ground, aerial = both.chunk(2)
            own, over = zip(*(level.chunk(2) for level in maps), strict=True)
            return ground, aerial, own, over
        with torch.set_grad_enabled(self.config.trained == "both"):
            aerial, over = model.aerial.with_maps(tiles) if self.dense else (model.aerial(tiles), ())
        ground, own = model.ground.with_maps(photos) if self.dense else (model.ground(photos), ())
        return ground, aerial, own, over


def train_egotr(
    config: EgoTRTraining,
    source: BatchSource[Batch],
    out: Path,
    *,
    view: PhotoView | None = None,
    normalise_tiles: Callable[[Image], Tensor] | None = None,
    model_config: EgoTRConfig | None = None,
    stem_state: dict[str, Tensor] | None = None,
    start_from: dict[str, Tensor] | None = None,
    log: Callable[[str], None] | None = None,
    judge: Callable[[nn.Module], dict[str, float]] | None = None,
) -> EgoTR:
    """Train and return the model; `out` gets `checkpoint.pt` (the resume point) and `log.jsonl`. A rerun goes on where it stopped.

    Photos go through `view` (the drone's unless given), tiles through `normalise_tiles` (the drone view's, which every view shares).
    """
    torch.manual_seed(config.seed)
    keep_freed_memory()
    model = EgoTR(model_config or PRESETS[config.preset])
    if stem_state is not None:
        model.load_stem(stem_state)
    if start_from is not None:
        model.load_state_dict(start_from)
    task = EgoTRTask(config, model, view or DroneView(), normalise_tiles or DroneView().normalise_tiles)
    task = cast(EgoTRTask, task.to(config.device).to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    return cast(EgoTR, train(task, source, config, out, log=log, judge=judge))
