"""Contrastive losses of descriptors (van den Oord 2018, eq. 4): symmetric over pairs, and with a target spread over tiles by metres."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def distance_targets(distance_m: Tensor, sigma_m: float, reach_m: float) -> Tensor:
    """Return (B, M) row-normalised targets exp(-d^2 / 2 sigma^2), zero past `reach_m`; rows without any near tile are zero.

    `distance_m` is (B, M), infinite where a tile lies on other ground.
    """
    weight = torch.exp(-0.5 * (distance_m / sigma_m) ** 2) * (distance_m < reach_m)
    return weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-12)


def metric_contrastive_loss(
    ground: Tensor, aerial: Tensor, distance_m: Tensor, ignore: Tensor, temperature: Tensor, sigma_m: float = 5.0, reach_m: float = 20.0
) -> Tensor:
    """Cross-entropy of softmax(similarity / temperature) against distance targets, both directions averaged.

    `ground` (B, D) and `aerial` (M, D) are unit vectors, `distance_m` (B, M) between photo centres and tile centres, and `ignore` (B, M)
    marks pairs of which nothing is known (the same ground under another turn of the world).
    """
    logits = (ground @ aerial.T / temperature).masked_fill(ignore, -1e4)  # (B, M)
    loss = logits.new_zeros(())
    for scores, distance in ((logits, distance_m), (logits.T, distance_m.T)):
        target = distance_targets(distance, sigma_m, reach_m)
        rows = target.sum(dim=1) > 0
        loss = loss - (target * torch.log_softmax(scores, dim=1)).sum(dim=1)[rows].mean() / 2
    return loss


def info_nce(ground: Tensor, aerial: Tensor, leave_out: Tensor, temperature: Tensor) -> Tensor:
    """Return the symmetric InfoNCE of (B, D) unit vectors whose rows are pairs: cross-entropy of the pair among the batch, both directions.

    `leave_out` (B, B) marks pairs (ground i, aerial j) that show the same ground and so are no negatives; the diagonal always counts.
    """
    count = len(ground)
    same = leave_out & ~torch.eye(count, dtype=torch.bool, device=ground.device)
    logits = (ground @ aerial.T / temperature).masked_fill(same, -1e4)  # (B, B)
    pair = torch.arange(count, device=ground.device)
    return (F.cross_entropy(logits, pair) + F.cross_entropy(logits.T, pair)) / 2
