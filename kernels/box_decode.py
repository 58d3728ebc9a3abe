"""Boxes from anchors on a grid: decoding, the best box, IoU, targets of training (AttenGeo, eq. 9 and 12; Redmon and Farhadi 2018).

Raw predictions are (B, A, 5, h, w): tx, ty, tw, th, confidence logit. Cell (row i, column j) of stride s decodes to
x = (j + sigmoid(tx)) s, y = (i + sigmoid(ty)) s, w = anchor_w exp(tw), h = anchor_h exp(th), always in pixels of the whole window:
boxes that are compared relative to their own cells say nothing about where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crossgeo.kernels.choose import choose

Anchors = Tensor | Sequence[tuple[float, float]]
MAX_LOG_SIZE = 4.0  # an untrained tw must not overflow exp; 55 times an anchor is past any window


@dataclass(frozen=True)
class BoxTargets:
    """What each of B true boxes asks of the raw predictions; every field is (B,) or (B, 2)."""

    anchor: Tensor  # (B,) int64
    row: Tensor  # (B,) int64
    column: Tensor  # (B,) int64
    offset: Tensor  # (B, 2) in [0, 1]: where sigmoid(tx), sigmoid(ty) must be
    log_size: Tensor  # (B, 2): where tw, th must be
    shape_iou: Tensor  # (B, A): how well each anchor's shape fits the box, both centred alike
    log_sizes: Tensor  # (B, A, 2): where tw, th of each anchor would have to be


def _anchor_tensor(anchors: Anchors, like: Tensor) -> Tensor:
    table = torch.as_tensor(anchors, dtype=torch.float32, device=like.device)
    if table.ndim != 2 or table.shape[1] != 2:
        raise ValueError(f"anchors are (A, 2) widths and heights in pixels, not {tuple(table.shape)}")
    return table


def _check_raw(raw: Tensor, sizes: Tensor) -> None:
    if raw.ndim != 5 or raw.shape[1] != len(sizes) or raw.shape[2] != 5:
        raise ValueError(f"raw predictions are (B, {len(sizes)}, 5, h, w), not {tuple(raw.shape)}")


def decode_boxes(raw: Tensor, anchors: Anchors, stride: int) -> tuple[Tensor, Tensor]:
    """Decode (B, A, 5, h, w) raw predictions to xyxy pixels (B, A, h, w, 4), unclipped, and confidences (B, A, h, w), all float32."""
    sizes = _anchor_tensor(anchors, raw)
    _check_raw(raw, sizes)
    raw = raw.float()
    columns = torch.arange(raw.shape[4], dtype=torch.float32, device=raw.device)
    rows = torch.arange(raw.shape[3], dtype=torch.float32, device=raw.device)
    x = (torch.sigmoid(raw[:, :, 0]) + columns) * stride  # (B, A, h, w)
    y = (torch.sigmoid(raw[:, :, 1]) + rows[:, None]) * stride
    half_w = torch.exp(raw[:, :, 2].clamp(-MAX_LOG_SIZE, MAX_LOG_SIZE)) * sizes[:, 0, None, None] / 2
    half_h = torch.exp(raw[:, :, 3].clamp(-MAX_LOG_SIZE, MAX_LOG_SIZE)) * sizes[:, 1, None, None] / 2
    boxes = torch.stack([x - half_w, y - half_h, x + half_w, y + half_h], dim=-1)  # (B, A, h, w, 4)
    return boxes, torch.sigmoid(raw[:, :, 4])


def decode_best_definition(raw: Tensor, anchors: Anchors, stride: int) -> tuple[Tensor, Tensor]:
    """Return what `decode_best` does, by decoding every box."""
    boxes, confidence = decode_boxes(raw, anchors, stride)
    best = raw[:, :, 4].float().flatten(1).argmax(dim=1)  # (B,) over A h w; by logit, since sigmoids of large logits tie
    picked = boxes.flatten(1, 3).gather(1, best[:, None, None].expand(-1, 1, 4))[:, 0]  # (B, 4)
    return picked, confidence.flatten(1).gather(1, best[:, None])[:, 0]


def decode_best(raw: Tensor, anchors: Anchors, stride: int, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """Return the box of highest confidence (eq. 12) of (B, A, 5, h, w) raw predictions: xyxy pixels (B, 4) and confidence (B,), float32.

    Of equal logits the first wins, in the order of anchor, row, column. On a GPU the Triton twin reads the logits once and decodes that
    one box. ValueError for predictions of another shape, UsageError where a backend asked for by name cannot run.
    """
    sizes = _anchor_tensor(anchors, raw)
    _check_raw(raw, sizes)
    unsupported = None if raw.dtype in (torch.float32, torch.float16, torch.bfloat16) else f"predictions of {raw.dtype}"
    if choose(backend, raw, sizes, unsupported=unsupported) == "torch":
        return decode_best_definition(raw, sizes, stride)
    from crossgeo.kernels.triton import box_decode as twin

    return twin.decode_best(raw, sizes, stride)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of xyxy boxes (..., 4) and (..., 4), broadcast to (...); boxes without area have IoU 0."""
    a, b = a.float(), b.float()
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0.0)  # (..., 2)
    intersection = overlap[..., 0] * overlap[..., 1]
    area_a = (a[..., 2:] - a[..., :2]).clamp(min=0.0).prod(dim=-1)
    area_b = (b[..., 2:] - b[..., :2]).clamp(min=0.0).prod(dim=-1)
    union = area_a + area_b - intersection
    return torch.where(union > 0.0, intersection / union.clamp(min=1e-12), torch.zeros_like(union))


def fuse_boxes(boxes: Tensor, confidence: Tensor, iou: float = 0.4, considered: int = 600, centres: int = 40) -> tuple[Tensor, Tensor]:
    """Fuse (..., N, 4) boxes by their (..., N) confidences into one box (..., 4) each, with the highest confidence that supports it (...).

    The box is the one of the `centres` most confident that most confidence stands around (boxes that overlap it by `iou`), averaged
    with what supports it (weighted boxes fusion, Solovyev et al. 2021): neighbouring cells and anchors see one object each a little
    differently, and their mean errs less than the best of them.
    """
    confidence, kept = confidence.topk(min(considered, confidence.shape[-1]))  # best first
    boxes, confidence = boxes.gather(-2, kept[..., None].expand(*kept.shape, 4)).float(), confidence.float()
    near = box_iou(boxes[..., :centres, None, :], boxes[..., None, :, :]) > iou  # (..., centres, N)
    centre = (near * confidence[..., None, :]).sum(dim=-1).argmax(dim=-1, keepdim=True)  # (..., 1)
    weight = confidence * near.gather(-2, centre[..., None].expand(*centre.shape, near.shape[-1]))[..., 0, :]
    weight = weight.scatter(-1, centre, confidence.gather(-1, centre))  # a box without area overlaps not even itself
    return (weight[..., None] * boxes).sum(dim=-2) / weight.sum(dim=-1, keepdim=True).clamp_min(1e-12), weight.amax(dim=-1)


def encode_targets(boxes: Tensor, anchors: Anchors, stride: int, grid_hw: tuple[int, int]) -> BoxTargets:
    """Find the best-IoU prior of (B, 4) true xyxy boxes in pixels, and what its raw prediction must be (eq. 9).

    A prior is an anchor at the centre of a cell. Among the priors of one anchor the best is the cell that holds the box's centre
    (a centre past the window belongs to the cell at its rim); among the anchors it is the one of highest IoU as a shape.
    """
    sizes = _anchor_tensor(anchors, boxes)
    boxes = boxes.float()
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / stride  # (B, 2) in cells
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1.0)  # (B, 2) px
    shared = torch.minimum(size[:, None], sizes).prod(dim=-1)  # (B, A)
    shape_iou = shared / (size.prod(dim=-1)[:, None] + sizes.prod(dim=-1) - shared)
    anchor = shape_iou.argmax(dim=1)  # (B,)
    column = centre[:, 0].floor().long().clamp(0, grid_hw[1] - 1)
    row = centre[:, 1].floor().long().clamp(0, grid_hw[0] - 1)
    offset = (centre - torch.stack([column, row], dim=1)).clamp(0.0, 1.0)  # (B, 2)
    log_sizes = torch.log(size[:, None] / sizes[None])  # (B, A, 2)
    log_size = log_sizes[torch.arange(len(boxes), device=boxes.device), anchor]  # (B, 2)
    return BoxTargets(anchor, row, column, offset, log_size, shape_iou, log_sizes)
