"""models/attention.py against torch's own multi-head attention."""

import pytest
import torch
from torch import nn

from crossgeo.models.attention import MultiHeadAttention


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (5, 63), (63, 5)])
def test_it_is_torchs_multi_head_attention_with_the_same_weights(queries: int, keys: int) -> None:
    torch.manual_seed(0)
    ours, theirs = MultiHeadAttention(12, 3).double(), nn.MultiheadAttention(12, 3, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in (ours.query, ours.key, ours.value)]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in (ours.query, ours.key, ours.value)]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    q, k, v = (torch.randn(2, n, 12, dtype=torch.float64) for n in (queries, keys, keys))
    torch.testing.assert_close(ours(q, k, v), theirs(q, k, v, need_weights=False)[0])


def test_channels_that_do_not_split_into_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="16 channels are not a multiple of 3 heads"):
        MultiHeadAttention(16, 3)
