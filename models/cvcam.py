"""Cross-view cross attention: CAB, its fixed 2-D sine position encodings and CVCAM (AttenGeo, sec. 3, eq. 2-5)."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossgeo.kernels.cross_attention import choose_attention, cross_attention
from crossgeo.models.attention import MultiHeadAttention

TEMPERATURE = 10_000.0


def sine_positions(height: int, width: int, channels: int, device: torch.device | None = None) -> Tensor:
    """Return the fixed encodings (H W, C) float32 of a grid, row by row (eq. 2): half the channels say the row, half the column.

    Channels 2i and 2i + 1 of a half hold sin and cos of position / 10000^(2i / (C / 2)); positions are cells counted from 0.
    """
    if channels % 4:
        raise ValueError(f"2-D sine encodings need a multiple of 4 channels, not {channels}")
    half = channels // 2
    rates = torch.exp(torch.arange(0, half, 2, dtype=torch.float32, device=device) * (-math.log(TEMPERATURE) / half))  # (C / 4,)
    rows = torch.arange(height, dtype=torch.float32, device=device)[:, None] * rates  # (H, C / 4)
    columns = torch.arange(width, dtype=torch.float32, device=device)[:, None] * rates  # (W, C / 4)
    row_part = torch.stack([rows.sin(), rows.cos()], dim=-1).flatten(1)  # (H, C / 2)
    column_part = torch.stack([columns.sin(), columns.cos()], dim=-1).flatten(1)  # (W, C / 2)
    grid = torch.cat([row_part[:, None].expand(-1, width, -1), column_part[None].expand(height, -1, -1)], dim=-1)  # (H, W, C)
    return grid.flatten(0, 1)


class CAB(nn.Module):
    """Cross-attention block: attention with position encodings on queries and keys, then an FFN, each with residual and LayerNorm."""

    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(channels, heads)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)
        self.act = nn.ReLU()
        self.ffn_norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, positions: Tensor, other: Tensor, other_positions: Tensor) -> Tensor:
        """Update (B, M, C) tokens from (B, N, C) other tokens, given their (M, C) and (N, C) position encodings."""
        tokens = self.norm(tokens + self._attend(tokens, positions, other, other_positions))
        return cast(Tensor, self.ffn_norm(tokens + self.contract(self.act(self.expand(tokens)))))

    def weights(self, tokens: Tensor, positions: Tensor, other: Tensor, other_positions: Tensor) -> Tensor:
        """Return what `forward`, given the same, takes of each other token for each token, in each head (eq. 3): (B, H, M, N)."""
        return self.attention.weights(tokens + positions, other + other_positions)

    def _attend(self, tokens: Tensor, positions: Tensor, other: Tensor, other_positions: Tensor) -> Tensor:
        """Mix the others (eq. 3): (B, M, C). Triton's kernel adds positions behind the projections, as tables, so no sum is written."""
        attend = self.attention
        kind = tokens.device.type
        cast_to = torch.get_autocast_dtype(kind) if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind) else None
        if choose_attention(attend.backend, attend.heads, tokens, other, attend.query.weight, dtype=cast_to) == "torch":
            return cast(Tensor, attend(tokens + positions, other + other_positions, other))
        tables = F.linear(positions, attend.query.weight), F.linear(other_positions, attend.key.weight)  # (M, C), (N, C)
        parts = attend.query(tokens), attend.key(other), attend.value(other)
        return cast(Tensor, attend.out(cross_attention(*parts, attend.heads, *tables, backend=attend.backend)))


class CVCAM(nn.Module):
    """k iterations that update each view from the other as it stood before; then one block fuses them on the reference's grid."""

    def __init__(self, channels: int, heads: int, hidden: int, iterations: int) -> None:
        super().__init__()
        self.query_blocks = nn.ModuleList(CAB(channels, heads, hidden) for _ in range(iterations))
        self.reference_blocks = nn.ModuleList(CAB(channels, heads, hidden) for _ in range(iterations))
        self.fuse = CAB(channels, heads, hidden)

    def forward(self, query: Tensor, reference: Tensor) -> Tensor:
        """Fuse (B, C, h, w) query features into (B, C, H, W) reference features; the result has the reference's shape."""
        height, width = reference.shape[-2:]
        channels = reference.shape[1]
        query_positions = sine_positions(query.shape[-2], query.shape[-1], channels, query.device).to(query.dtype)  # (h w, C)
        positions = sine_positions(height, width, channels, reference.device).to(reference.dtype)  # (H W, C)
        q = query.flatten(2).transpose(1, 2)  # (B, h w, C)
        r = reference.flatten(2).transpose(1, 2)  # (B, H W, C)
        for query_block, reference_block in zip(self.query_blocks, self.reference_blocks, strict=True):
            q, r = query_block(q, query_positions, r, positions), reference_block(r, positions, q, query_positions)
        fused: Tensor = self.fuse(r, positions, q, query_positions)  # (B, H W, C)
        return fused.transpose(1, 2).reshape(fused.shape[0], channels, height, width)  # (B, C, H, W)
