"""kernels/similarity_topk.py in plain torch: keys, chunks, ties and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from crossgeo.errors import UsageError
from crossgeo.kernels import similarity_topk as module
from crossgeo.kernels.similarity_topk import ROWS, from_keys, similarity_topk, similarity_topk_definition, to_keys


def _descriptors(count: int, kind: torch.dtype, whole: bool = False) -> tuple[Tensor, Tensor | None]:
    """Rows of 24 channels of one type, with scales if they have 8 bits; `whole` numbers up to 3 meet many ties and no rounding."""
    draw = torch.Generator().manual_seed(count)
    rows = torch.randint(-3, 4, (count, 24), generator=draw).float() if whole else torch.randn(count, 24, generator=draw)
    if kind.itemsize == 2:
        return rows.to(kind), None
    scales = torch.ones(count) if whole else 0.01 + 0.01 * torch.rand(count, generator=draw)
    return (rows if whole else rows / scales[:, None] / 4).to(kind), scales


def test_keys_rank_by_similarity_then_by_the_lower_id_and_can_be_read_back() -> None:
    values = torch.tensor([-torch.inf, -3.5, -1e-30, -0.0, 0.0, 1e-40, 2.0, 2.0, torch.inf])
    ids = torch.tensor([4, 2**32 - 1, 1, 5, 9, 0, 8, 7, 3])
    order = to_keys(values, ids).argsort(descending=True)
    assert ids[order].tolist() == [3, 7, 8, 0, 5, 9, 1, 2**32 - 1, 4]
    read, read_ids = from_keys(to_keys(values, ids))
    assert torch.equal(read, values) and torch.equal(read_ids, ids)


@pytest.mark.parametrize("kind", ROWS, ids=str)
def test_chunks_give_what_the_definition_gives(kind: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 37)
    rows, scales = _descriptors(333, kind)
    queries = torch.randn(5, 24, generator=torch.Generator().manual_seed(1))
    similarity, ids = similarity_topk(queries, rows, 63, scales)
    expected, expected_ids = similarity_topk_definition(queries, rows, 63, scales)
    assert similarity.dtype == torch.float32 and torch.equal(ids, expected_ids)
    assert (similarity - expected).abs().max() < 2e-5


def test_rows_that_are_equally_similar_are_ranked_by_their_ids_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 10)
    rows, scales = _descriptors(200, torch.int8, whole=True)
    queries = torch.eye(24)[:3]
    similarity, ids = similarity_topk(queries, rows, 50, scales)
    expected, expected_ids = similarity_topk_definition(queries, rows, 50, scales)
    assert torch.equal(similarity.double(), expected) and torch.equal(ids, expected_ids)
    assert len(similarity[0].unique()) < 5


def test_all_rows_can_be_asked_for_and_no_queries_give_nothing() -> None:
    rows, _ = _descriptors(7, torch.float16)
    assert similarity_topk(torch.randn(2, 24), rows, 7)[1].sort(dim=1).values.tolist() == [list(range(7))] * 2
    assert similarity_topk(torch.empty(0, 24), rows, 3)[1].shape == (0, 3)


def test_what_does_not_go_together_is_refused() -> None:
    rows, scales = _descriptors(7, torch.int8)
    with pytest.raises(ValueError, match=r"shapes \[\(1, 20\), \(7, 24\), \(7,\)\] do not go together"):
        similarity_topk(torch.ones(1, 20), rows, 3, scales)
    with pytest.raises(ValueError, match=r"types \[torch\.float64, torch\.int8\] do not go together"):
        similarity_topk(torch.ones(1, 24).double(), rows, 3)
    for k in (0, 8):
        with pytest.raises(ValueError, match=f"the {k} most similar of 7 rows cannot be told"):
            similarity_topk(torch.ones(1, 24), rows, k)
    with pytest.raises(UsageError, match=r"no kernel for torch.float32 queries and torch.int8 rows"):
        similarity_topk(torch.ones(1, 24), rows, 3, scales, backend="triton")
