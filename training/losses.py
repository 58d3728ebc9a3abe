"""What the two models learn from: the soft-margin triplet loss of EgoTR (Yang et al. 2021, eq. 1) and AttenGeo's box loss (eq. 9-12)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from crossgeo.kernels.box_decode import Anchors, box_iou, decode_boxes, encode_targets


def egotr_loss(ground: Tensor, aerial: Tensor, alpha: float = 10.0, leave_out: Tensor | None = None) -> Tensor:
    """Return the soft-margin triplet loss of (B, D) unit descriptors whose rows are pairs: softplus(alpha (D_pos - D_neg)), a scalar.

    D = 2 - 2 <ground, aerial>; every other row of the batch is a negative, in both directions, averaged over all B (B - 1) of each.
    `leave_out` (B, B) bool marks pairs (ground i, aerial j) that show the same ground and so are no negatives; if none is left it is 0.
    """
    count = len(ground)
    distance = 2.0 - 2.0 * ground.float() @ aerial.float().T  # (B, B): row ground, column aerial
    positive = distance.diagonal()  # (B,)
    negative = ~torch.eye(count, dtype=torch.bool, device=ground.device)
    if leave_out is not None:
        negative = negative & ~leave_out
    from_ground = F.softplus(alpha * (positive[:, None] - distance))  # (B, B)
    from_aerial = F.softplus(alpha * (positive[None, :] - distance))
    both = torch.where(negative, (from_ground + from_aerial) / 2, torch.zeros_like(distance))
    return both.sum() / negative.sum().clamp(min=1)


@dataclass(frozen=True)
class BoxLoss:
    """The parts of AttenGeo's loss, scalars, means over the batch."""

    confidence: Tensor
    offset: Tensor
    size: Tensor
    overlap: Tensor  # 1 - IoU

    def total(self, box_weight: float = 1.0, overlap_weight: float = 0.0) -> Tensor:
        """Return confidence + box_weight * (offset + size) + overlap_weight * overlap, a scalar."""
        return self.confidence + box_weight * (self.offset + self.size) + overlap_weight * self.overlap


def attengeo_loss(raw: Tensor, boxes: Tensor, anchors: Anchors, stride: int, spare_iou: float = 1.0) -> BoxLoss:
    """Compare (B, A, 5, h, w) raw predictions with (B, 4) true boxes, xyxy pixels of the window.

    Confidence (eq. 10): binary cross-entropy, 1 for the best-IoU prior and 0 for all others, summed over the priors of an image.
    Box (eq. 11): squared error of sigmoid(tx), sigmoid(ty) and of tw, th at that prior alone. Overlap (not in the paper): 1 - IoU there.
    With `spare_iou` below 1 the other anchors of the true cell whose shape reaches that IoU are not called false, and learn the box too:
    any of them may be asked for it, and a small set of clicks trains nine anchors better than one.
    A box of NaN says that nothing is there to be found (not in the paper): all priors are to stay silent.
    """
    raw = raw.float()
    there = ~boxes.isnan().any(dim=1)  # (B,)
    boxes = torch.where(there[:, None], boxes, torch.zeros_like(boxes))
    targets = encode_targets(boxes, anchors, stride, (raw.shape[3], raw.shape[4]))
    rows = torch.arange(len(raw), device=raw.device)
    chosen = torch.zeros_like(targets.shape_iou)  # (B, A)
    chosen[rows, targets.anchor] = 1.0
    spared = (targets.shape_iou >= spare_iou) & (chosen == 0.0)  # (B, A)
    wanted = torch.zeros_like(raw[:, :, 4])  # (B, A, h, w)
    wanted[rows, targets.anchor, targets.row, targets.column] = there.to(wanted.dtype)
    counted = torch.ones_like(wanted)
    counted[rows, :, targets.row, targets.column] = (~spared | ~there[:, None]).to(wanted.dtype)
    confidence = F.binary_cross_entropy_with_logits(raw[:, :, 4], wanted, reduction="none") * counted
    in_cell = raw[rows, :, :, targets.row, targets.column]  # (B, A, 5)
    weight = chosen + spared.to(chosen.dtype)
    weight = weight / weight.sum(dim=1, keepdim=True)  # (B, A)
    offset = (torch.sigmoid(in_cell[..., :2]) - targets.offset[:, None]).square().sum(dim=2)  # (B, A)
    size = (in_cell[..., 2:4] - targets.log_sizes).square().sum(dim=2)
    decoded, _ = decode_boxes(raw, anchors, stride)  # (B, A, h, w, 4)
    overlap = 1.0 - box_iou(decoded[rows, :, targets.row, targets.column], boxes[:, None])  # (B, A)
    weight = weight * (there / there.sum().clamp(min=1))[:, None]
    parts = ((weight * part).sum() for part in (offset, size, overlap))
    return BoxLoss(confidence.sum(dim=(1, 2, 3)).mean(), *parts)
