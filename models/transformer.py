"""Self-cross attention layers (Yang, Lu and Zhu 2021, eq. 3): keys come from the layer before, queries and values from this one."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from crossgeo.kernels.attention import attention

NORM_EPS = 1e-6


class SelfCrossAttention(nn.Module):
    """Multi-head attention whose keys may come from other tokens than its queries and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        return x.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)  # (B, H, N, C / H)

    def forward(self, tokens: Tensor, key_tokens: Tensor) -> Tensor:
        """Attend (B, N, C) tokens to keys of (B, N, C) key_tokens; the scale is 1 / sqrt(head size)."""
        mixed = attention(self._split(self.query(tokens)), self._split(self.key(key_tokens)), self._split(self.value(tokens)))
        return cast(Tensor, self.out(mixed.transpose(1, 2).reshape(tokens.shape)))


class Layer(nn.Module):
    """One pre-norm layer; with `cross` the keys are the previous layer's input under a LayerNorm of their own."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, cross: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.key_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.attention = SelfCrossAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.act = nn.GELU()
        self.dropout = nn.Dropout(dropout)
        self.cross = cross

    def forward(self, tokens: Tensor, previous: Tensor) -> Tensor:
        """Map (B, N, C) tokens, given the (B, N, C) input of the layer before (the same tokens in the first layer)."""
        keys = self.key_norm(previous if self.cross else tokens)
        tokens = tokens + self.attention(self.norm(tokens), keys)
        hidden = self.dropout(self.act(self.expand(self.mlp_norm(tokens))))
        return cast(Tensor, tokens + self.dropout(self.contract(hidden)))
