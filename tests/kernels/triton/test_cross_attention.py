"""kernels/triton/cross_attention.py: interpreted against the definition in float64, and compiled for four generations of cards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from run_types import RUN_TYPES
from torch import Tensor

from crossgeo.errors import UsageError
from crossgeo.kernels.cross_attention import cross_attention, cross_attention_definition

ARCHITECTURES = (80, 90, 100, 120)
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
SHAPES = [  # B, M, N, heads, channels a head
    (2, 1, 63, 3, 32),
    (1, 65, 65, 2, 64),
    (1, 17, 128, 1, 16),
    (2, 3, 1, 2, 8),
    (1, 35, 90, 1, 48),
    (1, 130, 101, 1, 20),
]


def _tokens(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Parts of wider products, as projections leave them: queries and values of one, keys of another."""
    batch, queries, count, heads, width = shape
    draw = torch.Generator().manual_seed(sum(shape))
    channels = heads * width
    made, before = (torch.randn(batch, max(queries, count), 3 * channels, generator=draw).to(dtype).to(device) for _ in range(2))
    value, query, _ = made.chunk(3, dim=-1)
    return query[:, :queries], before.chunk(3, dim=-1)[2][:, :count], value[:, :count]


def _doubled(*tensors: Tensor | None) -> list[Any]:
    return [None if tensor is None else tensor.double() for tensor in tensors]


@pytest.mark.parametrize("dtype", RUN_TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_agrees_with_the_definition_on_parts_of_wider_products(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
    q, k, v = _tokens(shape, dtype, device)
    given = cross_attention(q, k, v, shape[3], backend="triton")
    expected = cross_attention_definition(*_doubled(q, k, v), heads=shape[3])
    assert given.dtype == dtype and given.is_contiguous()
    assert (given.double() - expected).abs().max() < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", RUN_TYPES)
@pytest.mark.parametrize("tabled", [(True, False), (False, True), (True, True)])
def test_tables_are_added_to_queries_and_keys(tabled: tuple[bool, bool], dtype: torch.dtype, device: str) -> None:
    q, k, v = _tokens((2, 33, 70, 2, 32), dtype, device)
    draw = torch.Generator().manual_seed(5)
    q_table, k_table = (torch.randn(n, 64, generator=draw).to(device) if there else None for n, there in zip((33, 70), tabled, strict=True))
    given = cross_attention(q, k, v, 2, q_table, k_table, backend="triton")
    expected = cross_attention_definition(*_doubled(q, k, v), heads=2, q_table=_doubled(q_table)[0], k_table=_doubled(k_table)[0])
    assert (given.double() - expected).abs().max() < min(2 * TOLERANCE[dtype], 2e-2)


def test_large_scores_do_not_overflow(device: str) -> None:
    q, k, v = _tokens((1, 20, 70, 1, 16), torch.float32, device)
    given = cross_attention(q * 1e3, k * 1e3, v, 1, backend="triton")
    best = v[0, (q[0] @ k[0].T).argmax(-1)]
    torch.testing.assert_close(given[0], best)


def test_a_batch_past_what_32_bits_count_is_read_where_it_lies(far: Any, device: str) -> None:
    q, k, v = (far((3, count, 16), (1_100_000_000, 16, 1), torch.float16) for count in (3, 20, 20))
    draw = torch.Generator().manual_seed(6)
    for part in (q, k, v):
        part.copy_(torch.randn(part.shape, generator=draw))
    given = cross_attention(q, k, v, 1, backend="triton")
    expected = cross_attention_definition(*_doubled(q, k, v), heads=1)
    assert (given.double() - expected).abs().max() < TOLERANCE[torch.float16]


def test_what_it_cannot_do_is_refused_by_name(device: str) -> None:
    q = torch.randn(1, 3, 192, device=device)
    with pytest.raises(UsageError, match="heads of 192 channels are wider than 64"):
        cross_attention(q, q, q, 1, backend="triton")
    with pytest.raises(UsageError, match=r"no kernel for torch\.float64"):
        cross_attention(q.double(), q.double(), q.double(), 3, backend="triton")
    with pytest.raises(UsageError, match="a gradient is wanted"):
        cross_attention(q, q, q.requires_grad_(), 3, backend="triton")


def test_it_is_one_node_of_a_compiled_graph(device: str) -> None:
    q, k, v = _tokens((1, 17, 20, 1, 16), torch.float32, device)
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(lambda q, k, v: cross_attention(q, k, v, 1, backend="triton") * 2.0, backend=keep, fullgraph=True)
    expected = cross_attention(q, k, v, 1, backend="triton") * 2.0
    assert torch.equal(compiled(q, k, v), expected)
    assert [str(node.target) for node in graphs[0].graph.nodes if "crossgeo" in str(node.target)] == ["crossgeo.cross_attention.default"]


def _meta(batch: int, queries: int, count: int, channels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    wide = torch.empty(batch, max(queries, count), 3 * channels, dtype=dtype, device="meta")
    value, query, key = wide.chunk(3, dim=-1)
    return query[:, :queries], key[:, :count], value[:, :count]


TWIN = "crossgeo.kernels.triton.cross_attention:launch"


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(
    ("tokens", "heads", "dtype"),
    [
        ((256, 257, 257, 768), 12, torch.bfloat16),  # EgoTR-B
        ((64, 101, 101, 192), 6, torch.float16),  # egotr-s
        ((4, 1024, 1024, 256), 8, torch.float16),
        ((2, 200, 203, 480), 10, torch.bfloat16),
        ((2, 1100, 1100, 768), 12, torch.bfloat16),
    ],
    ids=str,
)
def test_self_cross_attention_compiles_to_tensor_cores_without_spills(
    compile_twin: Any, arch: int, tokens: tuple[int, int, int, int], heads: int, dtype: torch.dtype
) -> None:
    (kernel,) = compile_twin(TWIN, arch, *_meta(*tokens, dtype), heads)
    kernel.check(arch, tensor_cores=True)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_the_class_token_alone_and_float32_compile_without_spills(compile_twin: Any, arch: int, dtype: torch.dtype) -> None:
    for queries in (1, 257):
        (kernel,) = compile_twin(TWIN, arch, *_meta(16, queries, 257, 768, dtype), 12)
        kernel.check(arch)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("table", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("queries", "count"), [(64, 1024), (1024, 64)])
def test_cross_view_attention_with_tables_compiles_to_tensor_cores_without_spills(
    compile_twin: Any, arch: int, queries: int, count: int, table: torch.dtype
) -> None:
    tables = [torch.empty(n, 256, dtype=table, device="meta") for n in (queries, count)]
    (kernel,) = compile_twin(TWIN, arch, *_meta(16, queries, count, 256, torch.bfloat16), 8, *tables)
    kernel.check(arch, tensor_cores=True)
