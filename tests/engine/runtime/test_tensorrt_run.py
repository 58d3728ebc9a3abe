"""TensorRT's engines at work, on a stand-in for its module: profiles, memory, cards, what is kept for later, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorrt_stand_in
import torch
from tensorrt_stand_in import Machine, StandIn
from torch import nn

from crossgeo.engine.runtime import Runtime
from crossgeo.engine.runtime.batched import DeviceCall
from crossgeo.engine.runtime.choose import RuntimeOptions, runtimes
from crossgeo.engine.runtime.export import export_onnx
from crossgeo.engine.runtime.half import Half, Pixels, Slot
from crossgeo.engine.runtime.tensorrt import TENSORRT, TENSORRT_RTX, Flavour, profiles_to
from crossgeo.engine.runtime.tensorrt_run import on_card
from crossgeo.engine.runtime.torch import no_gpu
from crossgeo.errors import EngineError, LimitError

Halves = Callable[[], dict[str, Half]]
OUT_OF_MEMORY = "Error Code 1: Cuda Runtime (out of memory)"
"""As CUDA says it."""


class Stream:
    """A stream where there is none: all is done when it is asked for."""

    cuda_stream = 7

    def __init__(self, *_: object) -> None: ...

    def wait_stream(self, other: Stream) -> None:
        """Wait for nothing."""

    def synchronize(self) -> None:
        """Wait for nothing."""


@pytest.fixture(scope="module")
def exported() -> Callable[[Half, Path, str], None]:
    """Export each network once, since all tests but a few are of the same."""
    kept: dict[tuple[str, str], bytes] = {}

    def write(half: Half, path: Path, types: str) -> None:
        name = (half.title, types)
        if name not in kept:
            export_onnx(half, path, types)
            kept[name] = path.read_bytes()
        path.write_bytes(kept[name])

    return write


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, exported: Callable[[Half, Path, str], None]) -> Machine:
    """A machine whose cards work on the processor's memory."""
    found = Machine()
    stand_in = StandIn(found)

    @contextmanager
    def card(device: str) -> Iterator[None]:
        before, found.card = found.card, int(device.partition(":")[2] or 0) if device.startswith("cuda") else 0
        try:
            yield
        finally:
            found.card = before

    monkeypatch.setattr("crossgeo.engine.runtime.tensorrt.export_onnx", exported)
    monkeypatch.setattr(Flavour, "module", lambda self: stand_in)
    monkeypatch.setattr(Flavour, "missing", lambda self, device: None)
    monkeypatch.setattr(Flavour, "precisions", lambda self, device: ("fp32",))
    monkeypatch.setattr("crossgeo.engine.runtime.tensorrt.installed", lambda package: found.version)
    cuda = {
        "Stream": Stream, "current_stream": lambda at: Stream(), "empty_cache": lambda: None,
        "get_device_capability": lambda device: (8, 9), "get_device_name": lambda device: "NVIDIA RTX 4090",
    }  # fmt: skip
    for name, value in cuda.items():
        monkeypatch.setattr(torch.cuda, name, value)
    for module in ("tensorrt", "tensorrt_run"):
        monkeypatch.setattr(f"crossgeo.engine.runtime.{module}.on_card", card)
    return found


def opened(
    half: Half, folder: Path, pictures: Pixels, said: list[str] | None = None, runtime: str = "tensorrt", batch: int = 16
) -> Runtime:
    options = RuntimeOptions(runtime=runtime, batch=batch, folder=folder, say=None if said is None else said.append)
    (found,) = runtimes([half], options, lambda: pictures)
    return found


def images_of(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 3, 64, 64), np.float32)


def by_torch(half: Half, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(half.module(torch.from_numpy(images))[0].numpy())


@pytest.mark.parametrize(
    ("largest", "wanted"),
    [
        (256, [(1, 1, 1), (2, 16, 32), (33, 256, 256)]), (128, [(1, 1, 1), (2, 16, 32), (33, 128, 128)]), (16, [(1, 1, 1), (2, 16, 16)]),
        (4, [(1, 1, 1), (2, 4, 4)]), (1, [(1, 1, 1)]),
    ],
)  # fmt: skip
def test_profiles_are_for_one_for_few_and_for_many(largest: int, wanted: list[tuple[int, int, int]]) -> None:
    assert profiles_to(largest) == wanted


@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-rtx"])
def test_a_batch_runs_in_the_profile_made_for_it_and_answers_as_torch_does(
    machine: Machine, halves: Halves, pictures: Pixels, folder: Path, runtime: str
) -> None:
    half = halves()["plain"]
    ours = opened(half, folder, pictures, runtime=runtime, batch=256)
    machine.passes.clear()
    for count, profiles in (
        (1, [(0, 1)]),
        (2, [(1, 2)]),
        (32, [(1, 32)]),
        (64, [(2, 64)]),
        (256, [(2, 256)]),
        (19, [(1, 16), (1, 2), (0, 1)]),
    ):
        images = images_of(count)
        np.testing.assert_allclose(ours.run(images), by_torch(half, images), atol=1e-5)
        assert [one[1:] for one in machine.passes] == profiles
        machine.passes.clear()


def test_maps_of_any_size_are_taken(machine: Machine, halves: Halves, pictures: Pixels, folder: Path) -> None:
    runtime = opened(halves()["maps"], folder, pictures)
    for hw in ((64, 64), (48, 320)):
        images = np.random.default_rng(0).standard_normal((2, 3, *hw), np.float32)
        with torch.inference_mode():
            wanted = halves()["maps"].module(torch.from_numpy(images))
        for one, other in zip(runtime.run_all(images), wanted, strict=True):
            np.testing.assert_allclose(one, other.numpy(), atol=1e-3)


class Bytes(nn.Module):
    """A network of whole numbers."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """(B, 3, 64, 64) uint8 -> (B, 3)."""
        return (images.float().mean(dim=(2, 3)),)


def test_whole_numbers_stay_whole(machine: Machine, halves: Halves, pictures: Pixels, folder: Path) -> None:
    half = replace(halves()["plain"], name="bytes", module=Bytes(), inputs=(Slot("images", (3, 64, 64), "uint8"),))
    folder.mkdir()
    TENSORRT.build(half, folder, "fp32", 4, "cuda", pictures)
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), np.uint8)
    (found,) = TENSORRT.load(folder, half, "fp32", "cpu")((images,))
    np.testing.assert_allclose(found, images.mean(axis=(2, 3)), rtol=1e-5)


def test_more_rows_than_the_engine_is_built_for_and_other_sizes_are_refused(machine: Machine, halves: Halves, folder: Path) -> None:
    half = halves()["plain"]
    folder.mkdir()
    TENSORRT.build(half, folder, "fp32", 32, "cuda", np.zeros((0, 1, 1, 3), np.uint8))
    call = TENSORRT.load(folder, half, "fp32", "cpu")
    with pytest.raises(EngineError, match=r"tensorrt 10\.13 is built for batches up to 32, not 33"):
        call((images_of(33),))
    with pytest.raises(EngineError, match=r"is built for other shapes of images than \(2, 3, 64, 80\): Static dimension mismatch"):
        call((np.zeros((2, 3, 64, 80), np.float32),))


def test_what_a_card_gives_may_stay_there_and_what_lies_there_is_taken(
    machine: Machine, halves: Halves, pictures: Pixels, folder: Path
) -> None:
    half = halves()["plain"]
    runtime = opened(half, folder, pictures)
    images = torch.from_numpy(images_of(3)).double()
    (found,) = runtime.run_tensors(images)
    assert isinstance(found, torch.Tensor) and found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), by_torch(half, images.float().numpy()), atol=1e-5)


def test_all_is_done_on_the_card_that_was_named(machine: Machine, halves: Halves, pictures: Pixels, folder: Path) -> None:
    half = halves()["plain"]
    folder.mkdir()
    TENSORRT.build(half, folder, "fp32", 32, "cuda:1", pictures)
    call = TENSORRT.load(folder, half, "fp32", "cuda:1")
    assert isinstance(call, DeviceCall) and call.device == torch.device("cuda:1")
    call.device = torch.device("cpu")  # where this machine's memory is
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda count: call((images_of(count),)), [1, 2, 3]))
    assert {what for what, _ in machine.cards} == {"build", "load", "context", "pass"}
    assert {card for _, card in machine.cards} == {1} and machine.card == 0


def test_the_card_is_the_current_one_while_tensorrt_works_and_rtx_builds_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    trt, seen = StandIn(Machine()), list[str]()

    @contextmanager
    def device(name: str) -> Iterator[None]:
        seen.append(name)
        yield
        seen.append("back")

    with on_card("cuda:1") if no_gpu() is not None else nullcontext():  # where there is no card, none is asked for
        pass
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device", device)
    with on_card("cuda:1"):
        assert seen == ["cuda:1"]
    assert seen == ["cuda:1", "back"]
    for card, wanted in (((8, 9), ("SM89",)), ((8, 0), ("SM80",)), ((9, 0), ())):
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda device, card=card: card)
        assert TENSORRT_RTX._cards(trt, "fp16", "cuda:1") == wanted


def test_threads_share_a_bounded_number_of_contexts(machine: Machine, halves: Halves, pictures: Pixels, folder: Path) -> None:
    half = halves()["plain"]
    runtime = opened(half, folder, pictures, batch=64)
    counts = [1, 2, 64, 5] * 6
    wanted = {count: by_torch(half, images_of(count)) for count in counts}
    with ThreadPoolExecutor(8) as threads:
        for count, found in zip(counts, threads.map(lambda count: runtime.run(images_of(count)), counts), strict=True):
            np.testing.assert_allclose(found, wanted[count], atol=1e-5)
    assert 3 <= machine.most_contexts <= 2 * 3 + 2  # two passes, three profiles; and those of the check


@pytest.mark.parametrize("what", ["contexts", "scratch", "passes"])
def test_a_card_without_room_has_smaller_batches_and_says_so(
    machine: Machine, halves: Halves, pictures: Pixels, folder: Path, what: str
) -> None:
    half, said = halves()["plain"], list[str]()
    runtime = opened(half, folder, pictures, said)
    said.clear()
    if what == "scratch":  # of torch, which says so by itself
        machine.scratch = lambda rows: 1 << 50 if rows > 8 else 64 * rows
        images = images_of(16)
        np.testing.assert_allclose(runtime.run(images), by_torch(half, images), atol=1e-5)
        assert said == ["tensorrt fp32 on cpu: out of memory; going on with batches of 8"] and machine.contexts <= 1
    setattr(machine, f"{what}_fail", OUT_OF_MEMORY) if what != "scratch" else setattr(machine, "scratch", lambda rows: 1 << 50)
    with pytest.raises(LimitError, match="out of memory for batches of"):
        runtime.run(images_of(3))
    machine.contexts_fail, machine.passes_fail, machine.scratch = "", "", Machine().scratch
    np.testing.assert_allclose(runtime.run(images_of(3)), by_torch(half, images_of(3)), atol=1e-5)


@pytest.mark.parametrize("what", ["contexts_fail", "passes_fail"])
def test_what_fails_for_another_reason_is_said_in_tensorrt_s_words(
    machine: Machine, halves: Halves, pictures: Pixels, folder: Path, what: str
) -> None:
    runtime = opened(halves()["plain"], folder, pictures)
    setattr(machine, what, "Error Code 1: Myelin (no implementation)")
    if what == "contexts_fail":
        runtime = opened(halves()["plain"], folder, pictures)
    with pytest.raises(EngineError, match=r"tensorrt 10\.13 (makes no context|failed): Error Code 1: Myelin .*; take --runtime torch"):
        runtime.run(images_of(2))


def test_a_pass_that_does_nothing_is_not_taken_for_an_answer(machine: Machine, halves: Halves, pictures: Pixels, folder: Path) -> None:
    runtime = opened(halves()["plain"], folder, pictures)
    machine.silent = True
    with pytest.raises(EngineError, match="gave values that are no numbers"):
        runtime.run(images_of(2))


def test_an_old_driver_costs_no_engine_and_another_version_does(
    machine: Machine, halves: Halves, pictures: Pixels, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = halves()["plain"]
    opened(half, folder, pictures)
    ((plan),) = folder.glob("*/engine.plan")
    before = plan.stat().st_mtime_ns
    machine.driver_old = True
    with pytest.raises(EngineError, match=r"driver is too old for it: .*install a newer driver, or take --runtime torch"):
        opened(half, folder, pictures)
    assert plan.stat().st_mtime_ns == before
    with pytest.raises(EngineError, match="cannot build the engine: the GPU's driver is too old"):
        opened(replace(half, name="other"), folder, pictures)
    machine.driver_old, said = False, list[str]()
    machine.version = "10.14"
    monkeypatch.setattr("crossgeo.engine.runtime.tensorrt.installed", lambda package: "10.13")  # as if it called itself so
    opened(half, folder, pictures, said)
    assert plan.stat().st_mtime_ns != before and "Version tag does not match" in said[0] and said[0].endswith("it is built again")


def test_engines_for_later_versions_say_so_to_tensorrt(machine: Machine, halves: Halves, folder: Path, pictures: Pixels) -> None:
    half = halves()["plain"]
    for compatible in (False, True):
        options = RuntimeOptions(runtime="tensorrt", compatible=compatible, folder=folder / str(compatible))
        runtimes([half], options, lambda: pictures)
        assert machine.flags == ["VERSION_COMPATIBLE"] * compatible and set(machine.host_code) == {compatible}
        machine.host_code.clear()


def timings(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".timings"}


def test_timings_are_kept_for_each_version_and_card(machine: Machine, halves: Halves, folder: Path, pictures: Pixels) -> None:
    half = halves()["plain"]
    opened(half, folder, pictures)
    assert timings(folder) == {"tensorrt-10.13-nvidia-rtx-4090-8.9.timings": b"timings of card 0"}
    machine.version = "10.14"
    opened(half, folder, pictures)
    assert sorted(timings(folder)) == ["tensorrt-10.13-nvidia-rtx-4090-8.9.timings", "tensorrt-10.14-nvidia-rtx-4090-8.9.timings"]
    assert not list(folder.glob("*.tmp"))


@pytest.mark.parametrize("harm", ["damaged", "of another card", "a folder", "gone"])
def test_no_build_fails_for_its_timings(
    machine: Machine, halves: Halves, folder: Path, pictures: Pixels, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "tensorrt-10.13-nvidia-rtx-4090-8.9.timings"
    folder.mkdir()
    if harm == "a folder":
        path.mkdir()
    elif harm != "gone":
        path.write_bytes(b"nonsense" if harm == "damaged" else b"timings of card 5")

    def full(kind: str, at: Path, target: Path | None) -> None:
        if harm == "gone" and ".timings" in at.name:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("crossgeo.disk.CALL", full)
    images = images_of(2)
    np.testing.assert_allclose(opened(halves()["plain"], folder, pictures).run(images), by_torch(halves()["plain"], images), atol=1e-5)
    if harm in ("damaged", "of another card"):
        assert path.read_bytes() == b"timings of card 0"


def test_what_tensorrt_rtx_compiles_is_kept_beside_the_engine_and_not_compiled_again(
    machine: Machine, halves: Halves, folder: Path, pictures: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = halves()["plain"]
    opened(half, folder, pictures, runtime="tensorrt-rtx").run(images_of(3))
    (kept,) = folder.glob("*/kernels/runtime.cache")
    assert [(1, 3, 64, 64)] in machine.compiled and [(2, 3, 64, 64)] in machine.compiled
    machine.compiled.clear()
    again = opened(half, folder, pictures, runtime="tensorrt-rtx")  # the engine is whole with the file beside it
    again.run(images_of(3))
    assert machine.compiled == []
    again.run(images_of(8))
    assert machine.compiled == [[(8, 3, 64, 64)]]
    kept.write_bytes(b'["9.0", []]')  # of another version
    machine.compiled.clear()
    opened(half, folder, pictures, runtime="tensorrt-rtx").run(images_of(2))
    assert machine.compiled == [[(2, 3, 64, 64)]] and b"10.13" in kept.read_bytes()

    def full(kind: str, at: Path, target: Path | None) -> None:
        if "runtime.cache" in at.name:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("crossgeo.disk.CALL", full)
    images = images_of(4)
    np.testing.assert_allclose(opened(half, folder, pictures, runtime="tensorrt-rtx").run(images), by_torch(half, images), atol=1e-5)


def test_an_engine_that_tensorrt_rtx_itself_cannot_load_here_is_not_called_damaged(halves: Halves, pictures: Pixels, folder: Path) -> None:
    half = halves()["plain"]
    folder.mkdir()
    TENSORRT_RTX.build(half, folder, "fp16", 4, "cuda", pictures)
    if no_gpu() is not None:
        with pytest.raises(EngineError, match="driver version is insufficient") as raised:
            TENSORRT_RTX.load(folder, half, "fp16", "cuda")
        assert type(raised.value) is EngineError


def test_the_stand_in_has_nothing_that_tensorrt_does_not_have() -> None:
    trt = TENSORRT_RTX.module()
    real = {
        "_Context": trt.IExecutionContext, "_Engine": trt.ICudaEngine, "_Config": trt.IBuilderConfig, "_Builder": trt.Builder,
        "_Runtime": trt.Runtime, "_RuntimeConfig": trt.IRuntimeConfig, "_Cache": trt.IRuntimeCache, "_Profile": trt.IOptimizationProfile,
        "_Timing": trt.ITimingCache,
    }  # fmt: skip
    own = {"_Engine": {"says", "run", "output_shapes"}}
    for name, there in real.items():
        names = {one for one in vars(getattr(tensorrt_stand_in, name)) if not one.startswith("_")} - own.get(name, set())
        assert names and not names - set(dir(there)), name
