"""kernels/triton/similarity_topk.py: interpreted against the definition in float64, and compiled for four generations of cards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from run_types import HALVES
from torch import Tensor

from crossgeo.errors import UsageError
from crossgeo.kernels.similarity_topk import similarity_topk, similarity_topk_definition

ARCHITECTURES = (80, 90, 100, 120)
KINDS = (torch.float16, torch.int8, torch.float8_e4m3fn)


def _rows(count: int, channels: int, kind: torch.dtype, device: str) -> tuple[Tensor, Tensor | None]:
    draw = torch.Generator().manual_seed(count)
    rows = torch.randn(count, channels, generator=draw)
    if kind == torch.float16:
        return rows.to(kind).to(device), None
    scales = 0.01 + 0.01 * torch.rand(count, generator=draw)
    return (rows / scales[:, None] / 4).to(kind).to(device), scales.to(device)


def _queries(count: int, channels: int, device: str) -> Tensor:
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(9)).half().to(device)


@pytest.mark.parametrize("half", HALVES, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(
    ("asked", "count", "channels", "k"), [(1, 63, 40, 10), (3, 1000, 63, 64), (17, 129, 64, 1), (2, 5, 130, 5)], ids=str
)
def test_it_finds_what_the_definition_finds(
    asked: int, count: int, channels: int, k: int, kind: torch.dtype, half: torch.dtype, device: str
) -> None:
    queries = _queries(asked, channels, device).to(half)
    rows, scales = _rows(count, channels, kind, device)
    rows = rows.to(half) if kind == torch.float16 else rows
    similarity, ids = similarity_topk(queries, rows, k, scales, backend="triton")
    expected, expected_ids = similarity_topk_definition(queries, rows, k, scales)
    assert torch.equal(ids, expected_ids)
    assert (similarity - expected).abs().max() < 1e-5 * expected.abs().max()


def test_rows_that_are_equally_similar_are_ranked_by_their_ids(device: str) -> None:
    draw = torch.Generator().manual_seed(4)
    rows = torch.randint(-2, 3, (700, 32), generator=draw, dtype=torch.int8).to(device)
    queries = torch.eye(32, dtype=torch.float16, device=device)[:2]
    similarity, ids = similarity_topk(queries, rows, 64, backend="triton")
    expected, expected_ids = similarity_topk_definition(queries, rows, 64)
    assert torch.equal(similarity.double(), expected) and torch.equal(ids, expected_ids)
    assert similarity.unique().numel() == 1  # 64 rows of the best value alone: more than there are groups of 32


def test_rows_that_are_all_opposite_are_ranked_above_the_rows_past_the_end(device: str) -> None:
    rows = -torch.arange(1, 36, device=device, dtype=torch.float16)[:, None].expand(-1, 16).contiguous()
    similarity, ids = similarity_topk(torch.ones(1, 16, dtype=torch.float16, device=device), rows, 35, backend="triton")
    assert ids[0].tolist() == list(range(35)) and similarity[0, -1] == -35 * 16


def test_every_number_of_float8_is_read_as_torch_reads_it(device: str) -> None:
    rows = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
    rows = rows[~rows.float().isnan()][:, None].expand(-1, 16).clone()
    rows.view(torch.uint8)[:, 1:] = 0
    queries = torch.eye(16, dtype=torch.float16, device=device)[:1]
    for backend_dtype in (torch.float16, torch.bfloat16) if device == "cuda" else (torch.float16,):
        similarity, ids = similarity_topk(queries.to(backend_dtype), rows.to(device), 64, backend="triton")
        assert torch.equal(similarity[0], rows.to(device)[ids[0], 0].float())
        assert torch.equal(ids, similarity_topk_definition(queries, rows.to(device), 64)[1])


def test_more_queries_than_one_pass_takes_are_answered_pass_by_pass(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossgeo.kernels.triton import similarity_topk as twin

    monkeypatch.setattr(twin, "_PASS", 3)
    queries, (rows, _) = _queries(7, 16, device), _rows(40, 16, torch.float16, device)
    ids = similarity_topk(queries, rows, 3, backend="triton")[1]
    assert torch.equal(ids, similarity_topk_definition(queries, rows, 3)[1])


def test_rows_past_what_32_bits_count_are_read_where_they_lie(far: Any, device: str) -> None:
    rows = far((200, 16), (12_000_000, 1), torch.int8)  # the last begins 2.4e9 numbers in
    rows.copy_(torch.randint(-99, 99, (200, 16), generator=torch.Generator().manual_seed(6)))
    queries = _queries(2, 16, device)
    ids = similarity_topk(queries, rows, 64, backend="triton")[1]
    assert torch.equal(ids, similarity_topk_definition(queries, rows, 64)[1])


def test_what_it_cannot_do_is_refused_by_name(device: str) -> None:
    rows = torch.ones(100, 16, dtype=torch.float16, device=device)
    with pytest.raises(UsageError, match="65 results are more than 64"):
        similarity_topk(rows[:1], rows, 65, backend="triton")
    with pytest.raises(UsageError, match=r"no kernel for torch.bfloat16 queries and torch.float16 rows"):
        similarity_topk(rows[:1].bfloat16(), rows, 6, backend="triton")


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("asked", [1, 17, 64, 256])
def test_tens_of_millions_of_rows_compile_to_tensor_cores_without_spills(
    compile_twin: Any, arch: int, kind: torch.dtype, asked: int
) -> None:
    count = 40_000_000  # 3e10 numbers: past what 32 bits count
    rows = torch.empty(count, 768, dtype=kind, device="meta")
    scales = None if kind == torch.float16 else torch.empty(count, device="meta")
    queries = torch.empty(asked, 768, dtype=torch.float16, device="meta")
    scan, look = compile_twin("crossgeo.kernels.triton.similarity_topk:similarity_topk", arch, queries, rows, 64, scales)
    scan.check(arch, tensor_cores=True)
    look.check(arch)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_bfloat16_and_the_widest_rows_compile_without_spills(compile_twin: Any, arch: int) -> None:
    for kind in (torch.bfloat16, torch.int8):
        rows, queries = torch.empty(1000, 2048, dtype=kind, device="meta"), torch.empty(3, 2048, dtype=torch.bfloat16, device="meta")
        for kernel in compile_twin("crossgeo.kernels.triton.similarity_topk:similarity_topk", arch, queries, rows, 10):
            kernel.check(arch)
