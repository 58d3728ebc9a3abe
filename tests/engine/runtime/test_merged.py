"""engine/runtime/merged.py: passes of several threads go through a half together, and each gets what it gets alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossgeo.engine.runtime import Array, Runtime
from crossgeo.engine.runtime.batched import Batched
from crossgeo.engine.runtime.choose import RuntimeOptions, runtimes
from crossgeo.engine.runtime.half import Half
from crossgeo.engine.runtime.merged import Merging, MergingStats
from crossgeo.errors import EngineError, LimitError

LONG_MS = 600_000.0  # a pass that waits for so long has to be joined by others
Pictures = NDArray[np.uint8]
Halves = Callable[[], dict[str, Half]]


def together(runtime: Runtime, asked: Sequence[tuple[Array, ...]], ask: Callable[[tuple[Array, ...]], Any] | None = None) -> list[Any]:
    """Ask from a thread for each; return results and errors in their order."""
    ready = threading.Barrier(len(asked))

    def one(inputs: tuple[Array, ...]) -> Any:
        ready.wait(60.0)
        try:
            return runtime.run_all(*inputs) if ask is None else ask(inputs)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(asked)) as threads:
        return list(threads.map(one, asked))


@pytest.mark.parametrize("name", ["ground", "maps", "reference", "query"])
@pytest.mark.parametrize(("backend", "tolerance"), [("openvino", 0.0), ("torch", 1e-5)])
def test_passes_of_three_threads_are_one_and_answer_as_each_alone(
    halves: Halves, pictures: Pictures, folder: Path, name: str, backend: str, tolerance: float
) -> None:
    plain = RuntimeOptions(runtime=backend, precision="fp32", batch=4, folder=folder)
    (alone,) = runtimes([halves()[name]], plain, lambda: pictures)
    given = halves()[name].examples(pictures)
    asked = [tuple(rows[part] for rows in given) for part in (slice(0, 1), slice(1, 3), slice(3, 6))]
    with Merging(max_batch=6, max_delay_ms=LONG_MS) as merging:
        (merged,) = runtimes(
            [halves()[name]],
            RuntimeOptions(runtime=backend, precision="fp32", batch=4, folder=folder, merging=merging),
            lambda: pictures,
        )
        found = together(merged, asked)
        assert merging.stats() == MergingStats(passes=3, batches=1, rows=6, failed=0)
        assert merged.label == alone.label and merged.device == alone.device
        tensors = together(merged, asked, lambda inputs: merged.run_tensors(*map(torch.from_numpy, inputs)))
        assert merging.stats() == MergingStats(passes=6, batches=2, rows=12, failed=0)
    for inputs, arrays, ours in zip(asked, found, tensors, strict=True):
        for wanted, array, tensor in zip(alone.run_all(*inputs), arrays, ours, strict=True):
            assert tensor.device == alone.device
            for one in (array, tensor.numpy()):  # which another order of the threads may split into other batches
                assert one.shape == wanted.shape and one.dtype == np.float32
                np.testing.assert_allclose(one, wanted, rtol=0.0, atol=tolerance * max(1.0, float(np.abs(wanted).max())))


def test_halves_and_sizes_are_not_mixed(halves: Halves, pictures: Pictures) -> None:
    with Merging(max_batch=4, max_delay_ms=LONG_MS) as merging:
        options = RuntimeOptions(runtime="torch", precision="fp32", merging=merging)
        maps, other = runtimes([halves()["maps"], halves()["maps"]], options)
        wide = np.ones((2, 3, 96, 64), np.float32)
        with ThreadPoolExecutor(6) as threads:
            asked = [(maps, wide), (other, wide), (maps, wide[:, :, :64]), (other, wide), (maps, wide[:, :, :64]), (maps, wide)]
            found = list(threads.map(lambda one: one[0].run(one[1]), asked))
        assert [rows.shape[2] for rows in found] == [12, 12, 8, 12, 8, 12]
        assert merging.stats() == MergingStats(passes=6, batches=3, rows=12, failed=0)


def test_a_pass_that_fails_fails_alone() -> None:
    def call(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return (np.sqrt(inputs[0]),)

    given = [np.full((2, 3), value, np.float32) for value in (4.0, np.nan, 9.0)]
    with Merging(max_batch=6, max_delay_ms=LONG_MS) as merging:
        found = together(merging.over(Batched(call, "roots", 8)), [(rows,) for rows in given])
        assert merging.stats().failed == 1 and merging.stats().passes == 3
    assert [float(one[0][0, 0]) for one in (found[0], found[2])] == [2.0, 3.0]
    assert isinstance(found[1], EngineError) and "no numbers" in str(found[1])


def test_a_lone_pass_waits_for_nobody_without_a_delay_and_one_larger_than_all_is_run() -> None:
    seen: list[int] = []

    def call(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        seen.append(len(inputs[0]))
        return (2.0 * inputs[0],)

    with Merging(max_batch=4) as merging:
        runtime = merging.over(Batched(call, "doubling", 16))
        np.testing.assert_array_equal(runtime.run(np.ones((16, 2), np.float32)), np.full((16, 2), 2.0))
        assert seen == [16] and merging.stats().mean_rows == 16.0
        with pytest.raises(ValueError, match="empty"):
            runtime.run(np.ones((0, 2), np.float32))
    with pytest.raises(LimitError, match="shut down"):
        runtime.run(np.ones((1, 2), np.float32))


def test_an_engine_takes_as_many_rows_as_are_merged() -> None:
    with Merging(max_batch=100) as merging:
        assert RuntimeOptions(merging=merging).rows == 64
        assert RuntimeOptions(batch=128, merging=merging).rows == 128
    assert RuntimeOptions().rows == 16
