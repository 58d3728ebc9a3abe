"""Cross-view cross attention: CAB, its fixed 2-D sine position encodings and CVCAM (AttenGeo, sec. 3, eq. 2-5)."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossgeo.kernels.cross_attention import choose_attention, cross_attention
from crossgeo.models.attention import MultiHeadAttention
from crossgeo.models.prepared import Prepared

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
        self._prepared = Prepared()

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
        dtype = cast_to or tokens.dtype
        tables = self._table(attend.query, positions, dtype), self._table(attend.key, other_positions, dtype)
        weight, bias = self._keys_and_values(dtype)
        key, value = F.linear(other, weight, bias).chunk(2, dim=-1)  # both of the others as they are: one product
        mixed = cross_attention(attend.query(tokens), key, value, attend.heads, *tables, backend=attend.backend)
        return cast(Tensor, attend.out(mixed))

    def _table(self, linear: nn.Linear, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """Return what a projection makes of (N, C) positions, its bias aside: (N, C), summed in float32 and rounded once."""

        def make() -> Tensor:
            with torch.autocast(positions.device.type, enabled=False):
                return F.linear(positions.float(), linear.weight.float()).to(dtype)

        return self._prepared.of((linear is self.attention.key, len(positions), dtype), (positions, linear.weight), make)

    def _keys_and_values(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the projections to keys and to values as one, (2 C, C) and (2 C,)."""
        key, value = self.attention.key, self.attention.value

        def make() -> tuple[Tensor, Tensor]:
            return torch.cat([key.weight, value.weight]).to(dtype), torch.cat([key.bias, value.bias]).to(dtype)

        return self._prepared.of(dtype, (key.weight, value.weight, key.bias, value.bias), make)


class CVCAM(nn.Module):
    """k iterations that update each view from the other as it stood before; then one block fuses them on the reference's grid."""

    def __init__(self, channels: int, heads: int, hidden: int, iterations: int) -> None:
        super().__init__()
        self.query_blocks = nn.ModuleList(CAB(channels, heads, hidden) for _ in range(iterations))
        self.reference_blocks = nn.ModuleList(CAB(channels, heads, hidden) for _ in range(iterations))
        self.fuse = CAB(channels, heads, hidden)
        self._prepared = Prepared()

    def forward(self, query: Tensor, reference: Tensor) -> Tensor:
        """Fuse (B, C, h, w) query features into (B, C, H, W) reference features; the result has the reference's shape."""
        height, width = reference.shape[-2:]
        channels = reference.shape[1]
        query_positions, positions = self._positions(query), self._positions(reference)  # (h w, C), (H W, C)
        q = query.flatten(2).transpose(1, 2)  # (B, h w, C)
        r = reference.flatten(2).transpose(1, 2)  # (B, H W, C)
        for query_block, reference_block in zip(self.query_blocks, self.reference_blocks, strict=True):
            q, r = query_block(q, query_positions, r, positions), reference_block(r, positions, q, query_positions)
        fused: Tensor = self.fuse(r, positions, q, query_positions)  # (B, H W, C)
        return fused.transpose(1, 2).reshape(fused.shape[0], channels, height, width)  # (B, C, H, W)

    def _positions(self, features: Tensor) -> Tensor:
        """Return the encodings (H W, C) of (B, C, H, W) features, in their type and where they lie."""
        channels, height, width = features.shape[1:]
        kind = features.device, features.dtype
        return self._prepared.of(
            (channels, height, width, *kind), (), lambda: sine_positions(height, width, channels, features.device).to(features.dtype)
        )
