"""Multi-head attention (Vaswani et al. 2017, sec. 3.2.2) whose queries, keys and values may come from different tokens."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from crossgeo.kernels.cross_attention import cross_attention, cross_attention_weights


class MultiHeadAttention(nn.Module):
    """Four linear layers about the attention of H heads; the scale is 1 / sqrt(C / H). `backend` is that of `kernels.choose`."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels are not a multiple of {heads} heads")
        self.heads = heads
        self.backend = "auto"
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from (B, M, C) queries to (B, N, C) keys and values."""
        mixed = cross_attention(self.query(queries), self.key(keys), self.value(values), self.heads, backend=self.backend)
        return cast(Tensor, self.out(mixed))  # (B, M, C)

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return how much each of (B, M, C) queries takes of each of (B, N, C) keys in each head: (B, H, M, N), each row a distribution."""
        return cross_attention_weights(self.query(queries), self.key(keys), self.heads)
