"""Training of EgoTR: both branches, or the ground branch against an aerial branch that stays as it is, from any source of batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn

from crossgeo.errors import UsageError
from crossgeo.models.checkpoint import tensors_digest
from crossgeo.models.efficientnet_lite import EfficientNetLite
from crossgeo.models.egotr import PRESETS, EgoTR, EgoTRBranch, EgoTRConfig
from crossgeo.models.views import DroneView, Image, Mask
from crossgeo.training.contrastive import info_nce, metric_contrastive_loss
from crossgeo.training.dense import DenseLoss, batch_dense_loss
from crossgeo.training.distributed import gather_with_gradients
from crossgeo.training.grad_cache import cached_backward
from crossgeo.training.loop import Judge, train
from crossgeo.training.losses import egotr_loss
from crossgeo.training.memory import keep_freed_memory
from crossgeo.training.pair_batch import PairBatch
from crossgeo.training.recompute import recompute_layers
from crossgeo.training.sampling import Batch
from crossgeo.training.stream import Source
from crossgeo.training.task import LoopSettings, Task

Maps = tuple[Tensor, ...]
_LEARNED_BY = ("trained", "loss", "apart_m", "alpha", "dense", "tied_share", "frozen_blocks")  # a run goes on with the same
LEAST_TEMPERATURE = 0.01  # of InfoNCE: below it a few hard negatives are all there is


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
    loss: Literal["metres", "infonce", "triplet"] = "metres"  # contrastive.py's two, or the paper's eq. 1
    apart_m: float = 20.0  # a tile nearer than this to another's photo is no negative of it (infonce, triplet)
    alpha: float = 10.0  # of the triplets
    lr: float = 8e-4
    stem_lr: float = 2e-4
    decay_all: bool = False  # biases and norms, too
    tied_share: float = 0.75  # of the budget in which both branches are one network (each then learns from both views), before they part
    frozen_blocks: int = 3  # of the stem: its first features (to stride 4) are general enough, and cost most of a backward pass
    dense: bool = True  # train the stem's maps for registration, too, where the stem has them (EfficientNet-Lite0)
    temperature: float = 0.06  # at the start; it is learned
    chunk: int = 0  # pairs described at once, where a batch is too large for memory (grad_cache.py); 0 is all of them
    recompute: bool = False  # layers run again in the backward pass rather than keep what they computed

    def __post_init__(self) -> None:
        """Refuse what does not go together (UsageError)."""
        if self.chunk and self.dense:
            raise UsageError("maps are compared over a whole batch, so it cannot be described in chunks; set dense=False or chunk=0")


class EgoTRTask(Task[Batch]):
    """EgoTR and a learned temperature; while tied the ground branch serves both views."""

    def __init__(self, config: EgoTRTraining, model: EgoTR, view: PhotoView, normalise_tiles: Callable[[Image], Tensor]) -> None:
        super().__init__()
        self.config, self.view, self.normalise_tiles = config, view, normalise_tiles
        self.model: EgoTR = model
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))
        self.dense = DenseLoss() if config.dense and model.config.stem == "efficientnet-lite0" else None
        learned_by = {name: getattr(config, name) for name in _LEARNED_BY}
        self.identity = {"name": model.config.name, **model.config.to_dict(), "seed": config.seed, **learned_by}
        if config.trained == "ground":
            self.identity["aerial"] = tensors_digest(model.aerial.state_dict())
        self.tied_share = config.tied_share if model.config.ground_hw == model.config.aerial_hw and config.trained == "both" else 0.0
        self.tied = self.tied_share > 0.0
        for branch in (model.ground, model.aerial):
            stem = branch.stem
            if isinstance(stem, EfficientNetLite) and config.frozen_blocks:
                for module in (stem.stem, *list(stem.blocks)[: config.frozen_blocks]):
                    module.requires_grad_(False)
        if config.trained == "ground":
            model.aerial.requires_grad_(False)
        if config.recompute:
            recompute_layers(model)

    def train(self, mode: bool = True) -> EgoTRTask:
        """Switch dropout on or off; an aerial branch that is not trained never drops."""
        super().train(mode)
        if self.config.trained == "ground":
            self.model.aerial.eval()
        return self

    def groups(self) -> list[dict[str, Any]]:
        """Return the stems, matrices, vectors and the temperature."""
        config = self.config
        flat = config.weight_decay if config.decay_all else 0.0
        stems = [p for b in (self.model.ground, self.model.aerial) for p in b.stem.parameters() if p.requires_grad]
        in_stem = {id(p) for p in stems}
        others = [p for p in self.model.parameters() if p.requires_grad and id(p) not in in_stem]
        return [
            {"params": stems, "lr": config.stem_lr},
            {"params": [p for p in others if p.ndim > 1], "lr": config.lr},
            {"params": [p for p in others if p.ndim <= 1], "lr": config.lr, "weight_decay": flat},
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
        photos, tiles = self._inputs(batch)
        if self.config.chunk:
            loss = cached_backward(
                lambda rows: self._describe(photos[rows], tiles[rows])[:2], len(photos), self.config.chunk,
                lambda ground, aerial: self.objective(ground, aerial, batch), photos.device,
            )  # fmt: skip
            return {"loss": loss, "temperature": self.log_temperature.detach().exp()}
        ground, aerial, own, over = self._describe(photos, tiles)
        loss, parts = self.objective(ground, aerial, batch), {}
        if self.dense is not None:
            seen = batch.for_maps(self.view.extent_m) if isinstance(batch, PairBatch) else batch
            maps = batch_dense_loss(own, over, seen, self.view.extent_m, self.dense)
            loss, parts["maps"] = loss + maps, maps.detach()
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.detach(), **parts, "temperature": self.log_temperature.detach().exp()}

    def objective(self, ground: Tensor, aerial: Tensor, batch: Batch) -> Tensor:
        """Return the loss of (B, D) descriptors; those of pairs are compared with every process's."""
        if isinstance(batch, PairBatch):
            batch = batch.of_all_processes(ground.device)
            ground, aerial = gather_with_gradients(ground), gather_with_gradients(aerial)
        distance, ignore = torch.from_numpy(batch.distance_m).to(ground.device), torch.from_numpy(batch.ignore).to(ground.device)
        if self.config.loss == "metres":
            return metric_contrastive_loss(ground, aerial, distance, ignore, self.log_temperature.exp())
        same = ignore | (distance < self.config.apart_m)
        if self.config.loss == "triplet":
            return egotr_loss(ground, aerial, self.config.alpha, same)
        return info_nce(ground, aerial, same, self.log_temperature.exp().clamp_min(LEAST_TEMPERATURE))

    @torch.no_grad()
    def describe(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return (B, D) unit vectors of photos and tiles, without dropout."""
        self.eval()
        return self._describe(*self._inputs(batch))[:2]

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return (B, 3, H, W) photos and tiles on the device."""
        device = self.log_temperature.device
        return self.view.normalise(batch.views, batch.masks).to(device), self.normalise_tiles(batch.tiles).to(device)

    def _describe(self, photos: Tensor, tiles: Tensor) -> tuple[Tensor, Tensor, Maps, Maps]:
        """Return both (B, D) descriptors and both branches' maps (none unless they are trained)."""
        model, dense = self.model, self.dense is not None
        with torch.autocast(photos.device.type, torch.bfloat16, enabled=self.config.bf16):
            if self.tied:
                both, maps = _look(model.ground, torch.cat([photos, tiles]), dense)
                halves = [level.chunk(2) for level in (both, *maps)]
                return halves[0][0], halves[0][1], tuple(own for own, _ in halves[1:]), tuple(over for _, over in halves[1:])
            with torch.set_grad_enabled(self.config.trained == "both" and torch.is_grad_enabled()):
                aerial, over = _look(model.aerial, tiles, dense)
            ground, own = _look(model.ground, photos, dense)
            return ground, aerial, own, over


def _look(branch: EgoTRBranch, images: Tensor, dense: bool) -> tuple[Tensor, Maps]:
    return branch.with_maps(images) if dense else (branch(images), ())


def train_egotr(
    config: EgoTRTraining,
    source: Source[Batch],
    out: Path,
    *,
    view: PhotoView | None = None,
    normalise_tiles: Callable[[Image], Tensor] | None = None,
    model_config: EgoTRConfig | None = None,
    stem_state: dict[str, Tensor] | None = None,
    start_from: dict[str, Tensor] | None = None,
    log: Callable[[str], None] | None = None,
    judge: Judge | None = None,
) -> EgoTR:
    """Train and return the model; `out` gets `checkpoint.pt` (the resume point) and `log.jsonl`. A rerun goes on where it stopped.

    Photos go through `view` (the drone's unless given), tiles through `normalise_tiles` (the drone view's, which every view shares).
    Blocks are frozen only where they were trained.
    """
    if stem_state is None and start_from is None:
        config = replace(config, frozen_blocks=0)
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
