"""Training of AttenGeo, and of DetGeo likewise, on clicks (AttenGeo, eq. 9-11), and evaluation by accu@0.25 and accu@0.5 (eq. 12)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from crossgeo.kernels.box_decode import box_iou, decode_best
from crossgeo.models.attengeo import PRESETS, AttenGeo
from crossgeo.models.object_models import make_object_network
from crossgeo.models.object_network import ObjectConfig, ObjectNetwork
from crossgeo.models.views import ObjectView
from crossgeo.training.loop import train
from crossgeo.training.losses import attengeo_loss
from crossgeo.training.memory import keep_freed_memory
from crossgeo.training.objects import DrawSample, ObjectBatch, make_batch
from crossgeo.training.schedule import Schedule
from crossgeo.training.stream import NamedSource, Source
from crossgeo.training.task import LoopSettings, Task


@dataclass(frozen=True)
class AttenGeoTraining(LoopSettings):
    """One run."""

    steps: float = 20_000
    batch: int = 16
    lr: float = 4e-4
    backbone_lr: float = 2e-4
    eps: float = 1e-8
    schedule: Schedule = field(default_factory=lambda: Schedule(warmup_share=0.03))
    box_weight: float = 5.0  # of the box part against the confidence part of the loss
    overlap_weight: float = 2.0  # of 1 - IoU, which is what boxes are judged by
    spare_iou: float = 0.5  # anchors of the true cell that fit this well are not taught to stay silent; 1 is the paper's
    frozen_layers: int = 6  # of the backbone, its stem first
    decay_all: bool = False  # biases and norms, too
    average: float = 0.998
    log_steps: int = 20


@dataclass(frozen=True)
class BoxAccuracy:
    """Shares of clicks on something whose box reaches an IoU with the truth, and the median IoU."""

    accu_25: float
    accu_50: float
    median_iou: float
    clicks: int
    told_apart: float | None = None  # how often the box of a click on something is surer than that of one on nothing; None without any


def evaluate_attengeo(model: ObjectNetwork, batches: Iterable[ObjectBatch], *, bf16: bool = False) -> BoxAccuracy:
    """Compare the best box of each click, clipped to the window, with the truth; the model must be in eval mode."""
    device = model.anchors.device
    overlaps, sure = [], []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for batch in (b.on(device) for b in batches):
            boxes, confidence = decode_best(batch.asked(model), model.anchors, model.config.stride)  # (B, 4), (B,)
            overlap = box_iou(boxes.clamp(0.0, float(batch.windows.shape[-1])), batch.boxes)
            overlaps.append(torch.where(batch.boxes.isnan().any(dim=1), torch.nan, overlap).cpu())
            sure.append(confidence.float().cpu())
    every, surely = torch.cat(overlaps), torch.cat(sure)
    there = ~every.isnan()
    iou, on, off = every[there], surely[there], surely[~there]
    apart = ((on[:, None] > off).float() + 0.5 * (on[:, None] == off)).mean().item() if len(off) else None
    return BoxAccuracy((iou >= 0.25).float().mean().item(), (iou >= 0.5).float().mean().item(), iou.median().item(), len(iou), apart)


class ClickSource:
    """Batches of clicks that are drawn one by one."""

    def __init__(self, draw: DrawSample, view: ObjectView, size: int) -> None:
        self.draw, self.view, self.size = draw, view, size

    def identity(self) -> dict[str, Any]:
        """Return what is drawn from and how many at once (`stream.NamedSource`)."""
        return {"batch": self.size, **(self.draw.identity() if isinstance(self.draw, NamedSource) else {})}

    def batch(self, rng: np.random.Generator) -> ObjectBatch:
        """Draw one batch."""
        return make_batch([self.draw(rng) for _ in range(self.size)], self.view)


class AttenGeoTask(Task[ObjectBatch]):
    """AttenGeo or DetGeo and AttenGeo's box loss (eq. 9-12)."""

    def __init__(self, config: AttenGeoTraining, model: ObjectNetwork) -> None:
        super().__init__()
        self.config = config
        self.model: ObjectNetwork = model
        learned_by = {name: getattr(config, name) for name in ("box_weight", "overlap_weight", "spare_iou", "frozen_layers")}
        self.identity = {"name": model.config.name, **model.config.to_dict(), "seed": config.seed, **learned_by}
        model.freeze_backbone(config.frozen_layers)

    def groups(self) -> list[dict[str, Any]]:
        """Return matrices and vectors of the backbone and of what stands on it, less what is frozen or leads nowhere."""
        config, groups = self.config, []
        backbone = [p for p in self.model.backbone_parameters() if p.requires_grad]
        inside = {id(p) for p in backbone}
        others = [p for p in self.model.parameters() if p.requires_grad and id(p) not in inside]
        flat = config.weight_decay if config.decay_all else 0.0
        for parameters, lr in ((backbone, config.backbone_lr), (others, config.lr)):
            groups.append({"params": [p for p in parameters if p.ndim > 1], "lr": lr})
            groups.append({"params": [p for p in parameters if p.ndim <= 1], "lr": lr, "weight_decay": flat})
        return groups

    def learn(self, batch: ObjectBatch) -> dict[str, Tensor]:
        """Leave the gradients of a batch; return the weighted loss and its parts."""
        config, device = self.config, self.model.anchors.device
        batch = batch.on(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            raw = batch.asked(self.model)  # (B, A, 5, g, g) float32
        parts = attengeo_loss(raw, batch.boxes, self.model.anchors, self.model.config.stride, spare_iou=config.spare_iou)
        loss = parts.total(config.box_weight, config.overlap_weight)
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.detach(), **{name: getattr(parts, name).detach() for name in ("confidence", "offset", "size", "overlap")}}


def train_attengeo(
    config: AttenGeoTraining,
    source: Source[ObjectBatch],
    out: Path,
    *,
    model_config: ObjectConfig | None = None,
    backbone_state: dict[str, Tensor] | None = None,
    start_from: dict[str, Tensor] | None = None,
    held_out: Iterable[ObjectBatch] | None = None,
    log: Callable[[str], None] | None = None,
) -> ObjectNetwork:
    """Train the network of `model_config` and return the averaged one; a rerun goes on where it stopped.

    `out` gets what `loop.train` writes. The log says the accuracy on `held_out`, which is gone through at each checkpoint. Layers are
    frozen only where they were trained. Raises ValueError for a `backbone_state` or frozen layers of DetGeo, which has neither.
    """
    if backbone_state is None and start_from is None:
        config = replace(config, frozen_layers=0)
    torch.manual_seed(config.seed)
    keep_freed_memory()
    model = make_object_network(model_config or PRESETS["attengeo-s"])
    if backbone_state is not None:
        if not isinstance(model, AttenGeo):
            raise ValueError(f"{model.config.name} starts from whole weights, not from a backbone's")
        model.load_backbone(backbone_state)
    if start_from is not None:
        model.load_state_dict(start_from)

    def judge(trained: nn.Module) -> dict[str, float]:
        return asdict(evaluate_attengeo(cast(ObjectNetwork, trained), held_out or (), bf16=config.bf16))

    task = AttenGeoTask(config, model)
    task = cast(AttenGeoTask, task.to(config.device).to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    return cast(ObjectNetwork, train(task, source, config, out, log=log, judge=judge if held_out is not None else None))
