"""engine/runtime/in_process.py: what runs in this process is held against torch in float32 once, and is refused with figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from crossgeo.engine.runtime import Array, in_process
from crossgeo.engine.runtime.backends import InProcess, backend
from crossgeo.engine.runtime.batched import Call, OutOfMemory
from crossgeo.engine.runtime.check import check
from crossgeo.engine.runtime.choose import Chosen, RuntimeOptions, runtimes
from crossgeo.engine.runtime.half import Half
from crossgeo.engine.runtime.in_process import is_checked
from crossgeo.engine.runtime.store import EngineStore, Record
from crossgeo.errors import EngineError, InputError, LimitError

Pictures = NDArray[np.uint8]
Halves = Callable[[], dict[str, Half]]
plainly = cast(InProcess, backend("torch"))


class Looks:
    """Pictures, and how often they were asked for."""

    def __init__(self, pictures: Pictures) -> None:
        self.count, self._pictures = 0, pictures

    def __call__(self) -> Pictures:
        self.count += 1
        return self._pictures


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have torch in a low precision checked on the processor, too, as it is on a GPU."""
    monkeypatch.setattr(in_process, "is_checked", lambda name, precision, device: is_checked(name, precision, "cuda"))
    monkeypatch.setattr(in_process, "_seen", {})


def leaning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have torch's low precisions answer otherwise than it does in float32."""
    load = plainly.load

    def badly(module: nn.Module, precision: str, device: str) -> Call:
        call = load(module, precision, device)
        if precision == "fp32":
            return call
        return lambda inputs: tuple(rows + 0.5 * np.roll(rows, 1, axis=1) for rows in call(inputs))

    monkeypatch.setattr(plainly, "load", badly)


@pytest.mark.parametrize(
    ("name", "precision", "device", "checked"),
    [
        ("torch", "bf16", "cuda", True), ("torch", "fp16", "cuda:1", True), ("torch", "fp32", "cuda", False),
        ("torch", "bf16", "cpu", False), ("torch-compile", "fp32", "cuda", True), ("torch-compile", "fp32", "cpu", True),
    ],
)  # fmt: skip
def test_all_but_the_definition_is_checked(name: str, precision: str, device: str, checked: bool) -> None:
    assert is_checked(name, precision, device) == checked


@pytest.mark.usefixtures("as_on_a_gpu")
def test_halves_are_checked_once_and_what_was_found_is_kept(
    halves: Halves, pictures: Pictures, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, options = Looks(pictures), RuntimeOptions(runtime="torch", precision="bf16", folder=folder)
    some = [halves()[name] for name in ("plain", "reference", "query")]  # the last two share their weights
    found = runtimes(some, options, looks)
    assert [one.label for one in found] == ["torch bf16 on cpu"] * 3 and looks.count == 1
    records = [record for _, record in EngineStore(folder).records() if isinstance(record, Record)]
    assert len(records) == 3 and not any(record.refused or record.files for record in records)
    (descriptors,) = (record.figures for record in records if record.title == some[0].title)
    assert 0.999 <= descriptors["descriptors_cosine_least"] < 1.0 and descriptors["same_first"] == 1.0
    runtimes([halves()["plain"]], options, looks)
    monkeypatch.setattr(in_process, "_seen", {})  # as another process
    runtimes([halves()["plain"]], options, looks)
    assert looks.count == 1


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("later", [False, True])
def test_what_leans_away_is_refused_with_figures_or_float32_takes_its_place(
    halves: Halves, pictures: Pictures, folder: Path, monkeypatch: pytest.MonkeyPatch, later: bool
) -> None:
    leaning(monkeypatch)
    looks, said, options = Looks(pictures), list[str](), RuntimeOptions(runtime="torch", precision="bf16", folder=folder)
    with pytest.raises(EngineError, match=r"torch bf16 is refused: descriptors have a cosine of 0\.\d+ with torch's, and 0\.999 is asked"):
        runtimes([halves()["plain"]], options, looks)
    if later:
        monkeypatch.setattr(in_process, "_seen", {})
    half = halves()["plain"]
    auto = RuntimeOptions(folder=folder, say=said.append)
    monkeypatch.setattr("crossgeo.engine.runtime.choose.choose", lambda options: Chosen("torch", "bf16", "as on a GPU"))
    (runtime,) = runtimes([half], auto, looks)
    assert runtime.label == "torch fp32 on cpu" and looks.count == 1
    assert len(said) == 1 and "refused" in said[0] and said[0].endswith("going on with torch in fp32")
    (images,) = half.examples(pictures)
    with torch.no_grad():
        (wanted,) = halves()["plain"].module(torch.from_numpy(images))
    np.testing.assert_allclose(runtime.run(images), wanted.numpy(), atol=1e-5)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_what_torch_compiles_is_checked_before_its_first_use(
    halves: Halves, pictures: Pictures, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def made(module: nn.Module, precision: str, device: str) -> Call:
        def call(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
            asked.append(len(inputs[0]))
            return (np.full((len(inputs[0]), 32), np.nan, np.float32),)

        return call

    monkeypatch.setattr("crossgeo.engine.runtime.torch_compile.load", made)
    options = RuntimeOptions(runtime="torch-compile", precision="fp32", folder=folder)
    with pytest.raises(EngineError, match="torch-compile fp32 is refused: descriptors holds values that are no numbers"):
        runtimes([halves()["plain"]], options, lambda: pictures)
    assert asked == [len(pictures)]


@pytest.mark.usefixtures("as_on_a_gpu")
def test_where_the_folder_cannot_be_written_a_check_holds_for_the_process(halves: Halves, pictures: Pictures, folder: Path) -> None:
    folder.write_text("no folder")
    looks, said = Looks(pictures), list[str]()
    options = RuntimeOptions(runtime="torch", precision="bf16", folder=folder, say=said.append)
    for _ in range(2):
        runtimes([halves()["plain"]], options, looks)
    assert looks.count == 1 and len(said) == 1 and "what its check found is not kept" in said[0]


@pytest.mark.usefixtures("as_on_a_gpu")
def test_too_little_ground_to_check_by_stops_no_question(halves: Halves, folder: Path) -> None:
    def bare() -> Pictures:
        raise InputError("city.geo: shows too little ground")

    said: list[str] = []
    options = RuntimeOptions(runtime="torch", precision="bf16", folder=folder, say=said.append)
    assert runtimes([halves()["plain"]], options, bare)[0].label == "torch bf16 on cpu"
    assert len(said) == 1 and "bf16 is not checked: city.geo: shows too little ground" in said[0]
    with pytest.raises(InputError, match="too little ground"):
        runtimes([halves()["plain"]], replace(options, runtime="torch-compile", precision="fp32"), bare)


def test_a_check_takes_smaller_batches_where_the_device_has_no_room(halves: Halves, pictures: Pictures) -> None:
    half, sizes = halves()["plain"], list[int]()
    call = plainly.load(halves()["plain"].module, "fp32", "cpu")

    def roomy(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        sizes.append(len(inputs[0]))
        if sizes[-1] > 2:
            raise OutOfMemory
        return call(inputs)

    assert check(half, roomy, pictures, 4).problems == () and sizes[:2] == [4, 2]

    def full(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        raise OutOfMemory

    with pytest.raises(LimitError, match="out of memory for a single image"):
        check(half, full, pictures, 4)
