"""Training of EgoTR on drone views rendered from orthophotos: one loop, a budget of minutes, checkpoints, resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from crossgeo.models.efficientnet_lite import EfficientNetLite
from crossgeo.models.egotr import PRESETS, EgoTR, EgoTRConfig
from crossgeo.models.views import DroneView
from crossgeo.training.contrastive import metric_contrastive_loss
from crossgeo.training.dense import DenseLoss, batch_dense_loss
from crossgeo.training.grounds import Ground
from crossgeo.training.memory import keep_freed_memory
from crossgeo.training.render import Cameras
from crossgeo.training.sampling import Batch, SiteSampler, SiteSampling


@dataclass(frozen=True)
class EgoTRTraining:
    """One run; the learning rate falls to zero as the minutes run out."""

    minutes: float
    steps: int = 1_000_000_000  # a run ends with whichever of minutes and steps ends first
    preset: str = "egotr-s"
    seed: int = 1
    lr: float = 8e-4
    stem_lr: float = 2e-4
    weight_decay: float = 0.03
    warmup_share: float = 0.04
    clip: float = 1.0
    tied_share: float = 0.75  # of the budget in which both branches are one network (each then learns from both views), before they part
    frozen_blocks: int = 3  # of the stem: its first features (to stride 4) are general enough, and cost most of a backward pass
    dense: bool = True  # train the stem's maps for registration, too, where the stem has them (EfficientNet-Lite0)
    temperature: float = 0.06
    checkpoint_minutes: float = 4.0
    workers: int = 1
    bf16: bool = True
    device: str = "cpu"


class _Stream(IterableDataset[Batch]):
    def __init__(self, sampler: SiteSampler, seed: int) -> None:
        self.sampler, self.seed = sampler, seed

    def __iter__(self) -> Iterator[Batch]:
        info = torch.utils.data.get_worker_info()
        return self.sampler.stream(self.seed * 1000 + (info.id if info else 0))


def _freeze(model: EgoTR, blocks: int) -> None:
    for branch in (model.ground, model.aerial):
        stem = branch.stem
        if isinstance(stem, EfficientNetLite) and blocks:
            for module in (stem.stem, *list(stem.blocks)[:blocks]):
                module.requires_grad_(False)


def training_step(
    model: EgoTR, view: DroneView, batch: Batch, log_temperature: Tensor, *, tied: bool, bf16: bool, dense: DenseLoss | None = None
) -> Tensor:
    """Return the loss of one batch; while `tied` the ground branch serves both views; `dense` adds the feature maps' loss."""
    device = log_temperature.device
    photos, tiles = view.normalise(batch.views, batch.masks).to(device), view.normalise_tiles(batch.tiles).to(device)
    own: tuple[Tensor, ...] = ()
    over: tuple[Tensor, ...] = ()
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        if dense is None:
            ground, aerial = model.ground(torch.cat([photos, tiles])).chunk(2) if tied else model(photos, tiles)  # (B, D) each
        elif tied:
            both, maps = model.ground.with_maps(torch.cat([photos, tiles]))
            ground, aerial = both.chunk(2)
            own, over = zip(*(level.chunk(2) for level in maps), strict=True)
        else:
            (ground, own), (aerial, over) = model.ground.with_maps(photos), model.aerial.with_maps(tiles)
    distance, ignore = torch.from_numpy(batch.distance_m).to(device), torch.from_numpy(batch.ignore).to(device)
    loss = metric_contrastive_loss(ground, aerial, distance, ignore, log_temperature.exp())
    return loss if dense is None else loss + batch_dense_loss(own, over, batch, view.extent_m, dense)


def train_egotr(
    config: EgoTRTraining,
    grounds: Sequence[Ground],
    out: Path,
    *,
    view: DroneView | None = None,
    cameras: Cameras | None = None,
    sampling: SiteSampling | None = None,
    model_config: EgoTRConfig | None = None,
    stem_state: dict[str, Tensor] | None = None,
    start_from: dict[str, Tensor] | None = None,
    log: Callable[[str], None] | None = None,
) -> EgoTR:
    """Train and return the model; `out` gets `checkpoint.pt` (the resume point) and `log.jsonl`. A rerun goes on where it stopped."""
    torch.manual_seed(config.seed)
    keep_freed_memory()
    view = view or DroneView()
    model = EgoTR(model_config or PRESETS[config.preset])
    if stem_state is not None:
        model.load_stem(stem_state)
    if start_from is not None:
        model.load_state_dict(start_from)
    model = cast(EgoTR, model.to(config.device, memory_format=torch.channels_last))  # type: ignore[call-overload]
    _freeze(model, config.frozen_blocks)
    dense = DenseLoss() if config.dense and model.config.stem == "efficientnet-lite0" else None
    log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature), device=config.device))
    stem_parameters = [p for b in (model.ground, model.aerial) for p in b.stem.parameters() if p.requires_grad]
    in_stem = {id(p) for p in stem_parameters}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in in_stem]
    tied_share = config.tied_share if model.config.ground_hw == model.config.aerial_hw else 0.0
    optimiser = torch.optim.AdamW(
        [
            {"params": stem_parameters, "lr": config.stem_lr, "base": config.stem_lr},
            {"params": [p for p in others if p.ndim > 1], "lr": config.lr, "base": config.lr},
            {"params": [p for p in others if p.ndim <= 1], "lr": config.lr, "base": config.lr, "weight_decay": 0.0},
            {"params": [log_temperature], "lr": 1e-3, "base": 1e-3, "weight_decay": 0.0},
        ],
        weight_decay=config.weight_decay,
        eps=1e-6,
    )
    step, elapsed_s, tied = 0, 0.0, tied_share > 0.0
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=config.device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        log_temperature.data.copy_(saved["log_temperature"])
        step, elapsed_s, tied = int(saved["step"]), float(saved["elapsed_s"]), bool(saved["tied"])

    def save() -> None:
        if tied:
            model.aerial.load_state_dict(model.ground.state_dict())
        state = {
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "log_temperature": log_temperature.detach(),
            "step": step,
            "tied": tied,
            "elapsed_s": elapsed_s,
            "training": asdict(config),
        }
        torch.save(state, checkpoint.with_suffix(".tmp"))
        checkpoint.with_suffix(".tmp").replace(checkpoint)

    sampler = SiteSampler(grounds, view, cameras or Cameras(), sampling or SiteSampling())
    stream = _Stream(sampler, config.seed + step)
    loader = DataLoader(stream, batch_size=None, num_workers=config.workers, prefetch_factor=4 if config.workers else None)
    budget_s, last_save, mean = config.minutes * 60.0, elapsed_s, math.nan
    model.train()
    clock = time.monotonic()
    with (out / "log.jsonl").open("a") as journal:
        for batch in loader:
            now = time.monotonic()
            elapsed_s, clock = elapsed_s + now - clock, now
            done = max(elapsed_s / budget_s, step / config.steps)
            if done >= 1.0:
                break
            factor = min(1.0, done / config.warmup_share) * 0.5 * (1.0 + math.cos(math.pi * done))
            for group in optimiser.param_groups:
                group["lr"] = group["base"] * factor
            if tied and done >= tied_share:
                model.aerial.load_state_dict(model.ground.state_dict())
                tied = False
            loss = training_step(model, view, batch, log_temperature, tied=tied, bf16=config.bf16, dense=dense)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_([*others, *stem_parameters], config.clip)
            optimiser.step()
            step += 1
            mean = loss.item() if math.isnan(mean) else 0.95 * mean + 0.05 * loss.item()
            if step % 10 == 0:
                row = {"step": step, "minutes": round(elapsed_s / 60, 2), "loss": round(mean, 4)}
                journal.write(json.dumps(row) + "\n")
                journal.flush()
                if log:
                    log(json.dumps(row))
            if elapsed_s - last_save > config.checkpoint_minutes * 60:
                save()
                last_save = elapsed_s
    save()
    return model.eval()
