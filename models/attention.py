"""Multi-head attention (Vaswani et al. 2017, sec. 3.2.2) whose queries, keys and values may come from different tokens."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from crossgeo.kernels.attention import attention


class MultiHeadAttention(nn.Module):
    """Four linear layers about the attention of H heads; the scale is 1 / sqrt(C / H)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels are not a multiple of {heads} heads")
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def _split(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        return x.view(batch, tokens, self.heads, channels // self.heads).transpose(1, 2)  # (B, H, N, C / H)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from (B, M, C) queries to (B, N, C) keys and values."""
        mixed = attention(self._split(self.query(queries)), self._split(self.key(keys)), self._split(self.value(values)))
        return cast(Tensor, self.out(mixed.transpose(1, 2).flatten(2)))  # (B, M, C)
