"""Batches for AttenGeo: clicks on buildings of grounds, rendered, with the exact box in the window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.locate import fill
from crossgeo.errors import InputError
from crossgeo.models.views import ObjectView
from crossgeo.training.fingerprint import grounds_fingerprint
from crossgeo.training.grounds import Ground
from crossgeo.training.render import REGISTERED, Cameras, ObjectSample, random_world, render_object

DrawSample = Callable[[np.random.Generator], ObjectSample]
SMALLEST_SIDE_PX = 4.0  # what is left of a building at the window's rim must still be a box


@dataclass(frozen=True)
class ObjectBatch:
    """B clicks as the network takes them; images are (B, 3, S, S) uint8, channels last in memory, unseen pixels in the mean colour."""

    photos: Tensor
    clicks: Tensor  # (B, 2) float32, px
    windows: Tensor
    boxes: Tensor  # (B, 4) float32, xyxy px inside the window; NaN where nothing is to be found
    sights: Tensor | None = None  # (B, 4) float32, px of the window: the lines of sight of street photos' clicks

    def on(self, device: torch.device) -> ObjectBatch:
        """Return the batch on a device."""
        parts = (self.photos, self.clicks, self.windows, self.boxes, self.sights)
        return ObjectBatch(*(part if part is None else part.to(device, non_blocking=True) for part in parts))  # type: ignore[arg-type]

    def asked(self, model: Callable[..., Tensor]) -> Tensor:
        """Return what a model answers, raw (B, A, 5, g, g)."""
        return model(self.windows, self.photos, self.clicks, *(() if self.sights is None else (self.sights,)))


def make_batch(samples: Sequence[ObjectSample], view: ObjectView) -> ObjectBatch:
    """Stack samples; boxes are clipped to the window, as answers are."""
    photos = np.stack([fill(sample.photo, sample.mask, view.mean) for sample in samples])  # (B, P, P, 3)
    windows = np.stack([sample.window for sample in samples])  # (B, S, S, 3)
    boxes = np.stack([sample.box for sample in samples]).clip(0.0, view.window_px)
    return ObjectBatch(
        torch.from_numpy(photos).permute(0, 3, 1, 2),
        torch.tensor([sample.click_px for sample in samples], dtype=torch.float32),
        torch.from_numpy(windows).permute(0, 3, 1, 2),
        torch.from_numpy(boxes.astype(np.float32)),
        None if samples[0].sight_px is None else torch.tensor([sample.sight_px for sample in samples], dtype=torch.float32),
    )


class ObjectSampler:
    """Draws clicks from grounds with outlines, each ground as often as the root of its number of usable buildings says."""

    def __init__(
        self,
        grounds: Sequence[Ground],
        view: ObjectView,
        cameras: Cameras | None = None,
        real_weight: float = 5.0,
        place_error_m: float = 1.5,
        stretch: float = 0.0,
        other_day: float = 0.0,
    ) -> None:
        self.view, self.cameras, self.place_error_m = view, cameras or REGISTERED, place_error_m
        self.stretch, self.other_day = stretch, other_day
        self.grounds = [ground for ground in grounds if ground.outlines]
        self.outlines = [_outlines_with_room(ground, view.window_extent_m / 2.0) for ground in self.grounds]
        weights = [len(o) ** 0.5 * (real_weight if g.real else 1.0) for g, o in zip(self.grounds, self.outlines, strict=True)]
        if not sum(weights):
            reach_m = view.window_extent_m / 2.0
            raise InputError(
                f"no ground has a building with {reach_m:.0f} m of usable imagery around it; give larger imagery or other outlines"
            )
        self.weights = np.array(weights) / sum(weights)

    def identity(self) -> dict[str, Any]:
        """Return what the grounds are and how clicks are drawn (`stream.NamedSource`)."""
        how = {"place_error_m": self.place_error_m, "stretch": self.stretch, "other_day": self.other_day}
        return {"data": grounds_fingerprint(self.grounds), "sampling": how}

    def __call__(self, rng: np.random.Generator) -> ObjectSample:
        """Draw one click; one whose building is all but outside the window is drawn again."""
        while True:
            number = int(rng.choice(len(self.grounds), p=self.weights))
            outline = self.outlines[number][rng.integers(len(self.outlines[number]))]
            world = random_world(self.grounds[number], rng, self.stretch)
            sample = render_object(world, outline, self.view, self.cameras, rng, self.place_error_m, self.other_day)
            inside = sample.box.clip(0.0, self.view.window_px)
            if min(inside[2] - inside[0], inside[3] - inside[1]) >= SMALLEST_SIDE_PX:
                return sample


def _outlines_with_room(ground: Ground, reach_m: float) -> list[NDArray[np.float32]]:
    """Return the outlines whose surroundings of +- `reach_m` are at least 97 % usable."""
    kept = []
    height, width = ground.usable.shape
    reach = round(reach_m / ground.gsd_m)
    for outline in ground.outlines:
        column, row = (round(float(v)) for v in (outline.min(axis=0) + outline.max(axis=0)) / 2.0)
        around = ground.usable[max(row - reach, 0) : min(row + reach, height), max(column - reach, 0) : min(column + reach, width)]
        if around.sum() >= 0.97 * (2 * reach) ** 2:
            kept.append(outline)
    return kept


def held_out_batches(draw: DrawSample, view: ObjectView, count: int, batch: int, seed: int) -> list[ObjectBatch]:
    """Draw `count` clicks once, for evaluation: the same seed gives the same clicks."""
    rng = np.random.default_rng(seed)
    return [make_batch([draw(rng) for _ in range(min(batch, count - start))], view) for start in range(0, count, batch)]
