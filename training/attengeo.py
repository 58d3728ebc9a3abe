"""Training of AttenGeo on clicks: one loop with a budget, averaged weights, checkpoints, resume; evaluation by accu@0.25 and accu@0.5."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from crossgeo.errors import MismatchError
from crossgeo.kernels.box_decode import box_iou, decode_best
from crossgeo.models.attengeo import PRESETS, AttenGeo, AttenGeoConfig
from crossgeo.training.losses import BoxLoss, attengeo_loss
from crossgeo.training.memory import keep_freed_memory
from crossgeo.training.objects import BatchStream, DrawSample, ObjectBatch

SPARE_IOU = 0.5  # anchors of the true cell that fit this well are not taught to stay silent


@dataclass(frozen=True)
class AttenGeoTraining:
    """One run. It ends with whichever of steps and minutes ends first, and the learning rate falls to zero by then."""

    steps: int = 20_000
    minutes: float = math.inf
    batch: int = 16
    seed: int = 1
    lr: float = 4e-4
    backbone_lr: float = 2e-4
    weight_decay: float = 0.03
    warmup_share: float = 0.03
    clip: float = 1.0
    box_weight: float = 5.0  # of the box part against the confidence part of the loss
    overlap_weight: float = 2.0  # of 1 - IoU, which is what boxes are judged by
    frozen_layers: int = 6  # of the backbone, its stem first
    average: float = 0.998  # decay of the averaged weights, which are the result
    checkpoint_s: float = 240.0
    log_steps: int = 20
    workers: int = 1
    bf16: bool = True
    device: str = "cpu"


@dataclass(frozen=True)
class BoxAccuracy:
    """Shares of clicks whose box reaches an IoU with the truth, and the median IoU."""

    accu_25: float
    accu_50: float
    median_iou: float
    clicks: int


def evaluate_attengeo(model: AttenGeo, batches: Iterable[ObjectBatch], *, bf16: bool = False) -> BoxAccuracy:
    """Compare the best box of each click, clipped to the window, with the truth; the model must be in eval mode."""
    device = model.anchors.device
    overlaps = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for batch in (b.on(device) for b in batches):
            boxes, _ = decode_best(model(batch.windows, batch.photos, batch.clicks), model.anchors, model.config.stride)  # (B, 4)
            overlaps.append(box_iou(boxes.clamp(0.0, float(batch.windows.shape[-1])), batch.boxes).cpu())
    iou = torch.cat(overlaps)
    return BoxAccuracy((iou >= 0.25).float().mean().item(), (iou >= 0.5).float().mean().item(), iou.median().item(), len(iou))


def training_step(model: AttenGeo, batch: ObjectBatch, *, bf16: bool) -> BoxLoss:
    """Return the loss of one batch."""
    with torch.autocast(batch.windows.device.type, torch.bfloat16, enabled=bf16):
        raw = model(batch.windows, batch.photos, batch.clicks)  # (B, A, 5, g, g) float32
    return attengeo_loss(raw, batch.boxes, model.anchors, model.config.stride, spare_iou=SPARE_IOU)


class _Run:
    """The state of a run that a checkpoint keeps."""

    def __init__(self, config: AttenGeoTraining, model: AttenGeo) -> None:
        self.config, self.model = config, model
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        backbone = [p for p in model.backbone.parameters() if p.requires_grad]
        inside = {id(p) for p in backbone}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in inside]
        self.trained = [*backbone, *others]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in backbone if p.ndim > 1], "base": config.backbone_lr},
                {"params": [p for p in backbone if p.ndim <= 1], "base": config.backbone_lr, "weight_decay": 0.0},
                {"params": [p for p in others if p.ndim > 1], "base": config.lr},
                {"params": [p for p in others if p.ndim <= 1], "base": config.lr, "weight_decay": 0.0},
            ],
            lr=config.lr,
            weight_decay=config.weight_decay,
        )
        self.step, self.elapsed_s = 0, 0.0

    @property
    def done(self) -> float:
        """Share of the budget that is spent."""
        return max(self.step / self.config.steps, self.elapsed_s / (self.config.minutes * 60.0))

    def update(self, loss: Tensor) -> None:
        """Take one step and move the average."""
        factor = min(1.0, (self.done + 1e-3) / self.config.warmup_share) * 0.5 * (1.0 + math.cos(math.pi * min(self.done, 1.0)))
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * factor
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.trained, self.config.clip)
        self.optimiser.step()
        self.step += 1
        decay = min(self.config.average, (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value, 1.0 - decay)

    def save(self, path: Path) -> None:
        """Replace the checkpoint."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "training": asdict(self.config),
            "config": self.model.config.to_dict(),
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint; MismatchError when it is of another model."""
        saved: dict[str, Any] = torch.load(path, map_location=self.config.device, weights_only=True)
        if AttenGeoConfig.from_dict(saved["config"]) != self.model.config:
            raise MismatchError(f"{path} holds another model ({saved['config']['name']}, other settings); give a new folder or remove it")
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.elapsed_s = int(saved["step"]), float(saved["elapsed_s"])


def train_attengeo(
    config: AttenGeoTraining,
    draw: DrawSample,
    out: Path,
    *,
    model_config: AttenGeoConfig | None = None,
    backbone_state: dict[str, Tensor] | None = None,
    start_from: dict[str, Tensor] | None = None,
    held_out: Iterable[ObjectBatch] = (),
    log: Callable[[str], None] | None = None,
) -> AttenGeo:
    """Train on the clicks that `draw` gives and return the averaged model; a rerun goes on where it stopped.

    `out` gets `checkpoint.pt` (the resume point; its `average` holds the result) and `log.jsonl`, with the accuracy on `held_out`
    at each checkpoint.
    """
    torch.manual_seed(config.seed)
    keep_freed_memory()
    device, held_out = torch.device(config.device), list(held_out)
    model = AttenGeo(model_config or PRESETS["attengeo-s"])
    if backbone_state is not None:
        model.load_backbone(backbone_state)
    if start_from is not None:
        model.load_state_dict(start_from)
    model = cast(AttenGeo, model.to(device).to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    model.freeze_backbone(config.frozen_layers)
    run = _Run(config, model)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        run.resume(checkpoint)
    stream = BatchStream(draw, model.config.view, config.batch, config.seed * 1_000_003 + run.step)
    loader = DataLoader(stream, batch_size=None, num_workers=config.workers, prefetch_factor=4 if config.workers else None)
    model.train()
    with (out / "log.jsonl").open("a") as journal:

        def note(row: dict[str, Any]) -> None:
            line = json.dumps({"step": run.step, "minutes": round(run.elapsed_s / 60.0, 2), **row})
            journal.write(line + "\n")
            journal.flush()
            if log:
                log(line)

        def keep() -> None:
            run.save(checkpoint)
            if held_out:
                accuracy = evaluate_attengeo(run.average, held_out, bf16=config.bf16)
                note({key: round(value, 4) for key, value in asdict(accuracy).items()})

        batches, saved_at = iter(loader), run.elapsed_s
        clock = time.monotonic()
        while run.done < 1.0:
            loss = training_step(model, next(batches).on(device), bf16=config.bf16)
            run.update(loss.total(config.box_weight, config.overlap_weight))
            run.elapsed_s, clock = run.elapsed_s + time.monotonic() - clock, time.monotonic()
            if run.step % config.log_steps == 0:
                note({key: round(getattr(loss, key).item(), 4) for key in ("confidence", "offset", "size", "overlap")})
            if run.elapsed_s - saved_at > config.checkpoint_s:
                keep()
                saved_at, clock = run.elapsed_s, time.monotonic()  # keeping and judging are not part of the budget
        keep()
    return run.average
