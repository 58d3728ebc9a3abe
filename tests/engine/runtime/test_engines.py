"""Engines of every back end that runs without a GPU: built once, as torch answers, refused where they are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossgeo.engine.runtime import Array, Runtime
from crossgeo.engine.runtime.batched import Call
from crossgeo.engine.runtime.check import check
from crossgeo.engine.runtime.choose import Chosen, RuntimeOptions, choose, key_of, runtimes
from crossgeo.engine.runtime.half import Half, Slot
from crossgeo.engine.runtime.store import EngineStore, Record
from crossgeo.engine.runtime.torch import most_pixels
from crossgeo.engine.threads import computing_with
from crossgeo.errors import EngineError, UsageError

Pictures = NDArray[np.uint8]
Halves = Callable[[], dict[str, Half]]


def made(half: Half, options: RuntimeOptions, pictures: Pictures | None) -> Runtime:
    (runtime,) = runtimes([half], options, None if pictures is None else lambda: pictures)
    return runtime


def by_torch(half: Half, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
    with torch.inference_mode():
        return tuple(output.numpy() for output in half.module(*(torch.from_numpy(rows) for rows in inputs)))


@pytest.mark.parametrize("name", ["aerial", "ground", "maps", "reference", "query"])
@pytest.mark.parametrize(("backend", "tolerance"), [("torch", 1e-5), ("openvino", 1e-4), ("onnxruntime", 1e-4)])
def test_a_runtime_answers_as_the_module_does_at_any_batch(
    halves: Halves, name: str, backend: str, tolerance: float, pictures: Pictures, folder: Path
) -> None:
    half = halves()[name]
    options = RuntimeOptions(runtime=backend, precision="fp32", batch=4, folder=folder)
    runtime = made(half, options, pictures)
    assert runtime.label == f"{backend} fp32 on cpu"
    for count in (1, 3, 6):
        inputs = half.examples(pictures[:count])
        wanted = by_torch(halves()[name], inputs)
        for ours, theirs in zip(wanted, runtime.run_all(*inputs), strict=True):
            assert theirs.dtype == np.float32 and theirs.shape == ours.shape
            np.testing.assert_allclose(theirs, ours, atol=tolerance * max(1.0, float(np.abs(ours).max())))
        for array, tensor in zip(runtime.run_all(*inputs), runtime.run_tensors(*map(torch.from_numpy, inputs)), strict=True):
            assert tensor.device == runtime.device and np.array_equal(tensor.numpy(), array)


def test_threads_that_compute_alone_run_an_engine_at_once_and_alike(halves: Halves, pictures: Pictures, folder: Path) -> None:
    half = halves()["maps"]
    runtime = made(half, RuntimeOptions(runtime="openvino", precision="fp32", folder=folder), pictures)
    given = [half.examples(pictures[n : n + 2]) for n in range(4)] * 4
    wanted = [runtime.run_all(*inputs) for inputs in given]

    def alone(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        with computing_with(1):
            return runtime.run_all(*inputs)

    before = torch.get_num_threads()
    with ThreadPoolExecutor(4) as threads:
        for ours, theirs in zip(wanted, threads.map(alone, given), strict=True):
            assert all(np.array_equal(*pair) for pair in zip(ours, theirs, strict=True))
    assert torch.get_num_threads() == before


def test_maps_are_of_any_size_that_the_stem_divides(halves: Halves, pictures: Pictures, folder: Path) -> None:
    runtime = made(halves()["maps"], RuntimeOptions(runtime="openvino", precision="fp32", folder=folder), pictures)
    for hw in ((64, 64), (160, 256), (48, 320)):
        images = np.random.default_rng(0).standard_normal((2, 3, *hw), np.float32)
        for ours, theirs in zip(by_torch(halves()["maps"], (images,)), runtime.run_all(images), strict=True):
            assert theirs.shape[-2:] in ((hw[0] // 8, hw[1] // 8), (hw[0] // 16, hw[1] // 16))
            np.testing.assert_allclose(theirs, ours, atol=1e-3)


def test_bf16_of_torch_stays_near_and_is_what_autocast_gives(halves: Halves, pictures: Pictures) -> None:
    inputs = halves()["aerial"].examples(pictures)
    low = made(halves()["aerial"], RuntimeOptions(runtime="torch", precision="bf16", batch=8), None).run_all(*inputs)[0]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        images = torch.from_numpy(inputs[0]).to(memory_format=torch.channels_last)
        plain: Any = halves()["aerial"].module
        module = plain.to(memory_format=torch.channels_last)
        parts = [module(images[part])[0].float() for part in (slice(0, 4), slice(4, 6))]
    np.testing.assert_array_equal(low, torch.cat(parts).numpy())
    assert (low * by_torch(halves()["aerial"], inputs)[0]).sum(axis=1).min() > 0.99


def test_an_engine_is_built_once_and_found_again(halves: Halves, pictures: Pictures, folder: Path) -> None:
    said: list[str] = []
    options = RuntimeOptions(runtime="onnxruntime", folder=folder, say=said.append)
    first = made(halves()["plain"], options, pictures).run_all(*halves()["plain"].examples(pictures))
    again = made(halves()["plain"], options, None).run_all(*halves()["plain"].examples(pictures))
    np.testing.assert_array_equal(first[0], again[0])
    assert [line.split(": ")[1] for line in said] == ["building an engine for onnxruntime fp32, once"]
    ((path, record),) = EngineStore(folder).records()
    assert isinstance(record, Record)
    assert record.figures["same_first"] == 1.0 and record.figures["descriptors_cosine_least"] > 0.9999
    assert sorted(item.name for item in path.iterdir()) == ["engine.json", "model.onnx"]


def test_auto_takes_an_engine_that_is_there_and_torch_where_none_is(halves: Halves, pictures: Pictures, folder: Path) -> None:
    options = RuntimeOptions(folder=folder, precision="fp32")
    assert choose(options).backend == "openvino"
    assert made(halves()["plain"], options, pictures).label == "torch fp32 on cpu"
    assert not folder.exists()
    assert made(halves()["plain"], replace(options, build=True), pictures).label == "openvino fp32 on cpu"
    assert made(halves()["plain"], options, None).label == "openvino fp32 on cpu"


def test_another_precision_view_or_weights_is_another_engine_and_another_batch_is_none(halves: Halves) -> None:
    half, options, chosen = halves()["aerial"], RuntimeOptions(), Chosen("openvino", "bf16", "")
    keys = {
        key_of(half, chosen, options).digest,
        key_of(half, Chosen("openvino", "fp32", ""), options).digest,
        key_of(half, Chosen("onnxruntime", "bf16", ""), options).digest,
        key_of(replace(half, view="w" * 16), chosen, options).digest,
        key_of(replace(half, model=("tiny", "f" * 64)), chosen, options).digest,
        key_of(halves()["ground"], chosen, options).digest,
    }
    assert len(keys) == 6
    assert key_of(half, chosen, replace(options, batch=32)) == key_of(half, chosen, options)  # or other commands would not find it


def wrong(half: Half, how: Callable[[Array], Array]) -> Call:
    """An engine that answers as torch does, but for what `how` does to it."""

    def call(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(how(output) for output in by_torch(half, inputs))

    return call


def with_nan(rows: Array) -> Array:
    rows = rows.copy()
    rows.reshape(-1)[7] = np.nan
    return rows


@pytest.mark.parametrize("name", ["aerial", "ground", "maps", "reference", "query"])
def test_the_check_passes_torch_itself_and_refuses_what_is_no_number(halves: Halves, name: str, pictures: Pictures) -> None:
    half = halves()[name]
    assert check(half, wrong(half, lambda rows: rows), pictures).problems == ()
    assert "no numbers" in check(half, wrong(half, with_nan), pictures).problems[0]


def test_the_check_refuses_descriptors_and_maps_that_lean_away(halves: Halves, pictures: Pictures) -> None:
    noise = np.random.default_rng(0)

    def lean(rows: Array) -> Array:
        return np.asarray(rows + 0.1 * np.abs(rows).mean() * noise.standard_normal(rows.shape), np.float32)

    found = check(halves()["ground"], wrong(halves()["ground"], lean), pictures)
    assert 0.9 < found.figures["descriptors_cosine_least"] < 0.999
    assert sum("cosine" in problem for problem in found.problems) == 3


@pytest.mark.parametrize(("side", "batch", "largest"), [(64, 16, 16), (64, 256, 256), (288, 256, 128), (1024, 256, 16), (8192, 16, 1)])
def test_batches_of_large_images_are_smaller_powers_of_two(halves: Halves, side: int, batch: int, largest: int) -> None:
    half = replace(halves()["aerial"], inputs=(Slot("images", (3, side, side)),))
    assert half.largest(batch) == largest


def test_the_check_refuses_an_engine_that_finds_other_tiles(halves: Halves, pictures: Pictures) -> None:
    half = halves()["plain"]

    def swapped(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return (np.roll(by_torch(half, inputs)[0], 1 if inputs[0].mean() < images.mean() - 0.05 else 0, axis=0),)

    images = half.examples(pictures)[0]  # the photos are darker
    assert any("find another picture first" in problem for problem in check(half, swapped, pictures).problems)


def test_the_check_refuses_boxes_that_are_off(halves: Halves, pictures: Pictures) -> None:
    half = halves()["query"]
    found = check(half, wrong(half, lambda rows: rows + 0.5), pictures)  # boxes of other sizes
    assert found.figures["box_px_median"] > 1.0 and "px off at the median" in found.problems[0]

    def elsewhere(raw: Array) -> Array:  # sure of a box in a corner
        raw = raw.copy()
        raw.reshape(len(raw), 9, 5, -1)[:, 0, 4, 0] = 9.0
        return raw

    assert check(half, wrong(half, elsewhere), pictures).figures["box_px_median"] > 1.0


def test_a_refused_engine_is_remembered_and_auto_goes_on_with_torch(
    halves: Halves, pictures: Pictures, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgeo.engine.runtime.check.LEAST_COSINE", 1.1)
    said: list[str] = []
    options = RuntimeOptions(runtime="openvino", precision="fp32", folder=folder, say=said.append)
    with pytest.raises(EngineError, match=r"refused: descriptors have a cosine of 1\.0000"):
        made(halves()["plain"], options, pictures)
    with pytest.raises(EngineError, match="refused"):
        made(halves()["plain"], options, pictures)
    assert sum("building" in line for line in said) == 1
    assert not list(folder.glob("*/*.bin"))  # what is not used takes no room
    auto = replace(options, runtime="auto", build=True)
    assert made(halves()["plain"], auto, pictures).label == "torch fp32 on cpu"
    assert "going on with torch" in said[-1]


def test_a_runtime_asked_for_by_name_runs_or_raises() -> None:
    with pytest.raises(UsageError, match="no such runtime"):
        choose(RuntimeOptions(runtime="onnx"))
    with pytest.raises(UsageError, match="--precision fp16: onnxruntime on cpu has fp32"):
        choose(RuntimeOptions(runtime="onnxruntime", precision="fp16"))
    for name in ("tensorrt", "tensorrt-rtx"):
        with pytest.raises(EngineError, match="runs on NVIDIA's GPUs, not on cpu"):
            choose(RuntimeOptions(runtime=name))


def test_an_engine_without_pictures_to_check_it_is_not_built(halves: Halves, folder: Path) -> None:
    with pytest.raises(EngineError, match="geo engine build"):
        made(halves()["aerial"], RuntimeOptions(runtime="openvino", folder=folder), None)


def test_an_engine_s_record_says_what_it_is_of(built: Path) -> None:
    told = json.loads(next(built.glob("*/engine.json")).read_text())
    assert told["title"] == "colours (plain)" and told["refused"] == [] and told["size_bytes"] > 10_000
    assert {key: told["key"][key] for key in ("backend", "precision", "largest")} == {
        "backend": "onnxruntime", "precision": "fp32", "largest": 256,
    }  # fmt: skip


@pytest.mark.parametrize(("device", "batch"), [("cpu", 16), ("cuda", 256), ("cuda:1", 256)])
def test_a_gpu_takes_larger_batches_and_what_is_asked_for_is_taken(device: str, batch: int) -> None:
    assert RuntimeOptions(device=device).batch == batch
    assert RuntimeOptions(device=device, batch=8).batch == 8
    assert replace(RuntimeOptions(device=device), runtime="torch").rows == batch


@pytest.mark.parametrize(("free_gib", "side", "largest"), [(76, 384, 256), (76, 1024, 64), (20, 384, 256), (4, 384, 32), (0.01, 384, 1)])
def test_batches_on_a_gpu_are_as_large_as_its_free_memory_has_room_for(
    halves: Halves, free_gib: float, side: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (int(free_gib * 2**30), 80 << 30))
    half = replace(halves()["aerial"], inputs=(Slot("images", (3, side, side)),))
    assert half.largest(256, most_pixels(torch.device("cuda"))) == largest
    assert half.largest(256, most_pixels(torch.device("cpu"))) == half.largest(256)
