"""Whether an engine answers as torch does, on real pictures; one that does not is refused, with the figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from crossgeo.engine.runtime import Array
from crossgeo.engine.runtime.batched import Call, OutOfMemory
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.errors import LimitError

LEAST_COSINE = 0.999  # of descriptors
LEAST_MAP_COSINE = 0.998  # torch's own bf16 comes to 0.9987 with the shipped weights, which an engine must not be refused for
MOST_BOX_PX = 1.0  # at the median
_NEAR_TIE = 1e-3  # of cosine: which of two such tiles comes first is chance in torch, too
_NEAR_LOGIT = 0.1  # a tenth in confidence
_SHIFT_PX = 6
_BATCH = 8


@dataclass(frozen=True)
class Check:
    """What was measured; `problems` is empty where the engine is as good as torch."""

    figures: dict[str, float]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Expected:
    """What torch answers in float32 on pictures, and on pictures as another day would take them where descriptors are compared."""

    half: Half
    inputs: tuple[Array, ...]
    wanted: tuple[Array, ...]
    moved: tuple[Array, ...] | None
    photos: Array | None

    @classmethod
    def of(cls, half: Half, pictures: Pixels, device: str = "cpu") -> Expected:
        """Run the definition on a device, to which the module is moved; before its weights are cast."""
        at = torch.device(device)
        half.module.to(at)
        inputs = half.examples(pictures)
        moved = half.examples(_changed(pictures)) if half.judge == "descriptors" else None
        return cls(half, inputs, _torch(half, inputs, at), moved, None if moved is None else _torch(half, moved, at)[0])

    def judge(self, call: Call, largest: int = _BATCH) -> Check:
        """Hold a call against it, as `check` does."""
        half, found = self.half, _engine(call, self.inputs, largest)
        figures: dict[str, float] = {"pictures": float(len(self.inputs[0]))}
        problems = []
        for name, ours, theirs in zip(half.outputs, self.wanted, found, strict=True):
            if ours.shape != theirs.shape:
                return Check(figures, (f"{name} has the shape {theirs.shape}, not {ours.shape}",))
            if not np.isfinite(theirs).all():
                return Check(figures, (f"{name} holds values that are no numbers",))
        if half.judge == "boxes":
            figures["box_px_median"] = float(np.median(_boxes_apart(half, self.wanted[0], found[0])))
            if figures["box_px_median"] > MOST_BOX_PX:
                problems.append(f"boxes are {figures['box_px_median']:.2f} px off at the median, and {MOST_BOX_PX:g} is allowed")
            return Check(figures, tuple(problems))
        for name, ours, theirs in zip(half.outputs, self.wanted, found, strict=True):
            least = float(_cosines(ours, theirs).min())
            figures[f"{name}_cosine_least"] = least
            asked = LEAST_COSINE if name == "descriptors" else LEAST_MAP_COSINE
            if least < asked:
                problems.append(f"{name} have a cosine of {least:.5f} with torch's, and {asked} is asked")
        if self.moved is not None and self.photos is not None:
            theirs = _engine(call, self.moved, largest)[0]
            same = _same_first(self.photos @ self.wanted[0].T, theirs @ found[0].T)
            figures["same_first"] = float(same.mean())
            if not same.all():
                problems.append(f"{(~same).sum()} of {len(same)} photos find another picture first")
        return Check(figures, tuple(problems))


def check(half: Half, call: Call, pictures: Pixels, largest: int = _BATCH) -> Check:
    """Hold an engine against torch in float32 on (N, S, S, 3) uint8 RGB pictures, N at least 2.

    Descriptors must have a cosine of 0.999 with torch's and maps one of 0.998, each picture; photos like the pictures, darker and moved a
    little, must find the same of them first; boxes must lie within 1 px at the median. Values that are no numbers are refused wherever
    they stand.
    """
    return Expected.of(half, pictures).judge(call, largest)


def _boxes_apart(half: Half, ours: Array, theirs: Array) -> NDArray[np.float32]:
    """Return how far the surest boxes lie apart, px.

    Where torch is as sure of the box that the engine takes as of its own, but for a hair, which of them comes first is chance, and the
    same box of both is compared: an untrained network is sure of none.
    """
    assert half.decode is not None
    (our_boxes, our_logits), (their_boxes, their_logits) = half.decode(ours), half.decode(theirs)
    rows, best, taken = np.arange(len(ours)), our_logits.argmax(axis=1), their_logits.argmax(axis=1)
    tied = our_logits[rows, best] - our_logits[rows, taken] <= _NEAR_LOGIT
    return np.asarray(np.abs(our_boxes[rows, np.where(tied, taken, best)] - their_boxes[rows, taken]).max(axis=1))


def _changed(pictures: Pixels) -> Pixels:
    """Return pictures as another day would take them; where there is no imagery, pure black, there is none then either."""
    moved = np.roll(pictures, (_SHIFT_PX, -_SHIFT_PX), axis=(1, 2))
    darker = np.clip(moved.astype(np.float32) * 0.8 + 12.0, 0.0, 255.0).astype(np.uint8)
    return np.where(moved.any(axis=-1, keepdims=True), darker, moved)


def _same_first(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say for each row whether the same column is highest, or one that is as high but for a hair."""
    rows = np.arange(len(ours))
    lost = ours.max(axis=1) - ours[rows, theirs.argmax(axis=1)]
    return np.asarray(lost <= _NEAR_TIE)


def _cosines(ours: Array, theirs: Array) -> NDArray[np.float64]:
    a, b = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (ours, theirs))
    return np.asarray((a * b).sum(axis=1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30))


def _torch(half: Half, inputs: tuple[Array, ...], device: torch.device) -> tuple[Array, ...]:
    """Run the definition in its own float32, which no card may shorten."""
    parts = []
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for start in range(0, len(inputs[0]), _BATCH):
            given = (torch.from_numpy(np.ascontiguousarray(rows[start : start + _BATCH])).to(device) for rows in inputs)
            parts.append([output.float().cpu().numpy() for output in half.module(*given)])
    return tuple(np.concatenate(rows) for rows in zip(*parts, strict=True))


def _engine(call: Call, inputs: tuple[Array, ...], largest: int) -> tuple[Array, ...]:
    """Run an engine in batches, smaller ones where its device has no room for them."""
    try:
        parts = [call(tuple(np.ascontiguousarray(rows[k : k + largest]) for rows in inputs)) for k in range(0, len(inputs[0]), largest)]
    except OutOfMemory as error:
        if largest == 1:
            raise LimitError("out of memory for a single image; free the device, or take --device cpu") from error
        return _engine(call, inputs, largest // 2)
    return tuple(np.concatenate(rows) for rows in zip(*parts, strict=True))
