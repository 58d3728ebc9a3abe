"""Self-cross attention layers (Yang, Lu and Zhu 2021, eq. 3): keys come from the layer before, queries and values from this one."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from crossgeo.models.attention import MultiHeadAttention

NORM_EPS = 1e-6


class Layer(nn.Module):
    """One pre-norm layer; with `cross` the keys are the previous layer's input under a LayerNorm of their own."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, cross: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.key_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.attention = MultiHeadAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.act = nn.GELU()
        self.dropout = nn.Dropout(dropout)
        self.cross = cross

    def forward(self, tokens: Tensor, previous: Tensor) -> Tensor:
        """Map (B, N, C) tokens, given the (B, N, C) input of the layer before (the same tokens in the first layer)."""
        keys = self.key_norm(previous if self.cross else tokens)
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, keys, normed)
        hidden = self.dropout(self.act(self.expand(self.mlp_norm(tokens))))
        return cast(Tensor, tokens + self.dropout(self.contract(hidden)))
