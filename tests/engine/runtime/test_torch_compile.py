"""engine/runtime/torch_compile.py on the processor: a ladder of batches, one thread, no silent way back to uncompiled code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossgeo.engine.runtime import torch_compile
from crossgeo.engine.runtime.batched import Batched, DeviceCall, OutOfMemory
from crossgeo.engine.runtime.half import Half
from crossgeo.engine.runtime.torch_compile import LADDER, load, rungs
from crossgeo.errors import EngineError

Halves = Callable[[], dict[str, Half]]


class Told(nn.Module):
    """A small network that says when it is traced, and what runs it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> (B, 4) and (B, 4, H, W)."""
        maps = self.layer(images).tanh()
        return maps.mean(dim=(2, 3)), maps


class Compilations(list[tuple[int, ...]]):
    """The shapes of what is compiled, and the threads that run it."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[str] = set()

    def backend(self, graph: Any, examples: list[Any]) -> Any:
        """Compile nothing, and note for which images."""
        tensors = [one for one in examples if isinstance(one, Tensor) and not isinstance(one, nn.Parameter)]
        self.append(tuple(tensors[-1].shape))

        def run(*inputs: Any) -> Any:
            self.threads.add(threading.current_thread().name)
            return graph.forward(*inputs)

        return run


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Compilations]:
    """Have torch trace as ever, and leave the C++ compiler out of it."""
    found, compile_ = Compilations(), torch.compile

    def quickly(model: Any, *, mode: str | None, fullgraph: bool) -> Any:
        assert mode is None
        return compile_(model, backend=found.backend, fullgraph=fullgraph)

    monkeypatch.setattr(torch, "compile", quickly)
    yield found
    torch._dynamo.reset()


def images(count: int, side: int = 16) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(count).normal(size=(count, 3, side, side)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 16, 27, 64, 128, 192, 256, 300, 1000])
def test_rungs_take_each_row_once_with_less_than_twice_the_work(count: int) -> None:
    parts = list(rungs(count))
    assert sum(rows for rows, _ in parts) == count
    assert {rung for _, rung in parts} <= set(LADDER)
    assert all(rows <= rung for rows, rung in parts)
    assert sum(rung for _, rung in parts) < 2 * count


def test_batches_of_all_sizes_need_few_compilations_and_answer_as_the_module_does(compiled: Compilations) -> None:
    call, module = load(Told(), "fp32", "cpu"), Told()
    for count in (*range(1, 20), 27, 33, 64, 70):
        given = images(count)
        with torch.no_grad():
            wanted = module(torch.from_numpy(given))
        for found, rows in zip(call((given,)), wanted, strict=True):
            np.testing.assert_allclose(found, rows.numpy(), atol=1e-6)
    assert [shape[0] for shape in sorted(compiled)] == [1, 4, 16, 64]


def test_the_ladder_and_nothing_else_cuts_what_fits_at_once(compiled: Compilations) -> None:
    call, module = load(Told(), "fp32", "cpu"), Told()
    given = images(27 + 64)
    with torch.no_grad():
        wanted = module(torch.from_numpy(given))[0]
    np.testing.assert_allclose(Batched(call, "torch-compile", 64).run(given), wanted.numpy(), atol=1e-6)
    assert sorted(shape[0] for shape in compiled) == [16, 64]  # 27 are 16 and 11, where powers of two would need 8, 2 and 1


def test_a_rung_is_compiled_once_whatever_its_rows_are_a_part_of(compiled: Compilations) -> None:
    call = load(Told(), "fp32", "cpu")
    assert isinstance(call, DeviceCall)
    for count in (2, 1, 6, 5):
        call((images(count),))
        call.on_device((torch.from_numpy(images(count + 3))[3:],))
    assert sorted(shape[0] for shape in compiled) == [1, 4]


def test_what_is_given_out_is_not_written_over_by_later_calls(compiled: Compilations) -> None:
    call = load(Told(), "fp32", "cpu")
    first = call((images(4),))
    kept = [rows.copy() for rows in first]
    call((images(3),))
    for found, wanted in zip(first, kept, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_all_calls_are_made_by_one_thread_whoever_asks(compiled: Compilations) -> None:
    call, other = load(Told(), "fp32", "cpu"), load(Told(), "fp32", "cpu")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: (call if n % 2 else other)((images(4),))[0], range(12)))
    assert len(compiled.threads) == 1 and threading.current_thread().name not in compiled.threads
    assert len(compiled) == 2  # one of each, though twelve asked at once
    for rows in found:
        np.testing.assert_array_equal(rows, found[0])


def test_images_of_many_sizes_are_compiled_once_for_any_size(compiled: Compilations) -> None:
    call, module = load(Told(), "fp32", "cpu"), Told()
    for side in (16, 32, 48, 64, 80, 96):
        with torch.no_grad():
            wanted = module(torch.from_numpy(images(4, side)))[1]
        np.testing.assert_allclose(call((images(4, side),))[1], wanted.numpy(), atol=1e-6)
    assert len(compiled) == 2


def test_numbers_in_which_two_networks_differ_are_constants_of_each(compiled: Compilations) -> None:
    class Scaled(Told):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale = scale

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(images * self.scale)

    for scale in (0.5, 1.5):
        load(Scaled(scale), "fp32", "cpu")((images(4),))
    assert compiled == [(4, 3, 16, 16)] * 2  # the images come last, and no number behind them


def test_more_shapes_than_may_be_compiled_are_an_error_and_never_run_uncompiled(
    compiled: Compilations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_compile, "MOST_SHAPES", 2)
    call = load(Told(), "fp32", "cpu")
    call((images(1),))
    call((images(4),))
    with pytest.raises(EngineError, match=r"images of more than 2 sizes; take --runtime torch"):
        call((images(16),))
    assert torch._dynamo.config.recompile_limit > 2  # it is set for these calls alone


def test_what_the_compiler_says_is_an_error_of_the_engine() -> None:
    class Unclear(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            torch._dynamo.graph_break()  # type: ignore[no-untyped-call]
            return rows

    with pytest.raises(EngineError, match=r"torch\.compile failed: .+; take --runtime torch"):
        load(Unclear(), "fp32", "cpu")((images(1),))


def test_a_device_without_room_says_so_to_the_caller(compiled: Compilations, monkeypatch: pytest.MonkeyPatch) -> None:
    call = load(Told(), "fp32", "cpu")

    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(call, "_called", full)
    with pytest.raises(OutOfMemory):
        call((images(4),))


def test_values_that_are_no_numbers_are_refused_and_stay_in_their_row(compiled: Compilations) -> None:
    call, given = load(Told(), "fp32", "cpu"), images(3)
    given[0] = np.nan
    found = call((given,))[0]
    assert np.isnan(found[0]).all() and np.isfinite(found[1:]).all()
    with pytest.raises(EngineError, match="gave values that are no numbers"):
        Batched(call, "torch-compile fp32 on cpu", 4).run(given)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # the compiler's own imports
def test_a_half_of_ours_runs_as_it_is_compiled_for_the_processor(halves: Halves, pictures: Any) -> None:
    half = halves()["plain"]
    (given,) = half.examples(pictures[:3])
    found = load(half.module, "fp32", "cpu")((given,))[0]
    with torch.no_grad():
        (wanted,) = halves()["plain"].module(torch.from_numpy(given))
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["aerial", "ground", "maps", "reference", "query"])
def test_each_half_is_one_graph(halves: Halves, pictures: Any, compiled: Compilations, name: str) -> None:
    half = halves()[name]
    given = half.examples(pictures[:2])
    with torch.no_grad():
        wanted = halves()[name].module(*(torch.from_numpy(rows) for rows in given))
    for found, rows in zip(load(half.module, "fp32", "cpu")(given), wanted, strict=True):
        np.testing.assert_allclose(found, rows.numpy(), atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # the compiler's own imports
def test_any_thread_gets_its_own_place_for_cuda_graphs_whichever_imported_their_module_first() -> None:
    """Before torch 2.13 only that one has it; the other fails at the first step of a graph."""
    from torch._inductor import cudagraph_trees

    names = ("tree_manager_containers", "tree_manager_locks")

    def there() -> list[bool]:
        torch_compile.own_graphs()
        return [hasattr(cudagraph_trees.local, name) and torch._C._is_key_in_tls(name) for name in names]

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(there).result() == [True, True]
