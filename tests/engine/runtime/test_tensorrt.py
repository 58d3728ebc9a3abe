"""TensorRT-RTX builds engines of both models at their papers' sizes without a GPU; cards that it does not serve are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crossgeo.engine.runtime.backends import backend
from crossgeo.engine.runtime.choose import Chosen, RuntimeOptions, build, choose, key_of
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.engine.runtime.halves import describing, mapping, of_clicks, of_windows
from crossgeo.engine.runtime.tensorrt import TENSORRT, TENSORRT_RTX, Flavour
from crossgeo.errors import EngineError, UsageError
from crossgeo.models.attengeo import PRESETS as OBJECTS
from crossgeo.models.attengeo import AttenGeo
from crossgeo.models.egotr import PRESETS, EgoTR
from crossgeo.models.fold import fold_branch
from crossgeo.models.views import DroneView

NO_PICTURES = np.zeros((0, 1, 1, 3), np.uint8)


def half(name: str) -> Half:
    torch.manual_seed(0)
    if name.startswith("attengeo"):
        network = AttenGeo(OBJECTS["attengeo"]).eval()
        return (of_windows if name.endswith("windows") else of_clicks)(network, ("attengeo", "0" * 64), "v")
    model = EgoTR(PRESETS["egotr-b"] if name == "egotr-b" else PRESETS["egotr-s"]).eval()
    branch, view = fold_branch(model.aerial), DroneView()
    return (mapping if name.endswith("maps") else describing)(branch, view, "aerial", ("egotr", "0" * 64), "v")


@pytest.mark.parametrize(
    ("name", "precision"), [("egotr-b", "bf16"), ("attengeo windows", "bf16"), ("attengeo clicks", "fp16"), ("egotr-s maps", "fp16")]
)
def test_a_strongly_typed_engine_is_built_for_batches_of_1_to_256(name: str, precision: str, tmp_path: Path) -> None:
    made = half(name)
    most = made.largest(256)
    TENSORRT_RTX.build(made, tmp_path, precision, most, "cuda", NO_PICTURES)
    assert [path.name for path in tmp_path.iterdir()] == ["engine.plan"]
    weights = sum(parameter.numel() for parameter in made.module.parameters())
    plan = tmp_path / "engine.plan"
    assert 1.0 * weights < plan.stat().st_size < 3.5 * weights + 4e6  # two bytes a weight that it needs, and its kernels
    assert most == (16 if name in ("attengeo windows", "egotr-s maps") else 256)


def test_an_engine_is_not_loaded_where_there_is_no_card(tmp_path: Path) -> None:
    assert "runs on NVIDIA's GPUs, not on cpu" in str(TENSORRT_RTX.missing("cpu"))
    if not torch.cuda.is_available():
        assert "needs a GPU with its driver to run: torch" in str(TENSORRT_RTX.missing("cuda"))


@pytest.mark.parametrize(
    ("flavour", "card", "word"),
    [
        (TENSORRT_RTX, (9, 0), "Hopper"), (TENSORRT_RTX, (7, 5), "zeros"), (TENSORRT_RTX, (7, 0), "8.0 or newer"),
        (TENSORRT_RTX, (8, 7), "and serves 8.0, 8.6, 8.9, 12.0, 12.1; take torch-compile"), (TENSORRT_RTX, (10, 0), "is not made for it"),
        (TENSORRT_RTX, (10, 3), "10.3"), (TENSORRT_RTX, (11, 0), "11.0"), (TENSORRT_RTX, (13, 0), "13.0"), (TENSORRT, (7, 0), "7.5"),
        (TENSORRT_RTX, (8, 0), None), (TENSORRT_RTX, (8, 6), None), (TENSORRT_RTX, (8, 9), None), (TENSORRT_RTX, (12, 0), None),
        (TENSORRT_RTX, (12, 1), None), (TENSORRT, (7, 5), None), (TENSORRT, (9, 0), None), (TENSORRT, (10, 3), None),
    ],
)  # fmt: skip
def test_cards_that_a_runtime_does_not_serve_are_refused(flavour: Flavour, card: tuple[int, int], word: str | None) -> None:
    why = flavour.unfit(*card)
    assert (why is None) if word is None else (why is not None and word in why)


def test_what_tensorrt_rtx_serves_the_package_can_build_for() -> None:
    named = set(TENSORRT_RTX.module().ComputeCapability.__members__) - {"NONE", "CURRENT", "SM75"}  # Turing: see its refusal
    assert {f"SM{major}{minor}" for major, minor in TENSORRT_RTX.served} == named and set(TENSORRT_RTX.fp8_cards) <= named


@pytest.mark.parametrize(
    ("flavour", "card", "wanted"),
    [
        (TENSORRT, (7, 5), ("fp16", "fp32")), (TENSORRT, (8, 6), ("fp16", "bf16", "fp32")),
        (TENSORRT, (9, 0), ("fp16", "bf16", "fp32", "fp8")), (TENSORRT, (10, 0), ("fp16", "bf16", "fp32", "fp8")),
        (TENSORRT_RTX, (8, 6), ("fp16", "bf16", "fp32")), (TENSORRT_RTX, (8, 9), ("fp16", "bf16", "fp32", "fp8")),
        (TENSORRT_RTX, (12, 0), ("fp16", "bf16", "fp32", "fp8")),
    ],
)  # fmt: skip
def test_a_card_is_given_the_numbers_that_it_has(flavour: Flavour, card: tuple[int, int], wanted: tuple[str, ...]) -> None:
    assert flavour.precisions_of(*card) == wanted


def test_a_package_that_is_not_there_says_how_to_get_it() -> None:
    try:
        TENSORRT.module()
    except ImportError:
        assert "pip install 'crossgeo[tensorrt]'" in str(TENSORRT.absent())


def test_an_engine_of_8_bit_floats_is_built_for_cards_that_have_them_and_for_no_other(
    halves: Callable[[], dict[str, Half]], pictures: Pixels, tmp_path: Path
) -> None:
    made = half("egotr-s")
    TENSORRT_RTX.build(made, tmp_path, "fp8", 256, "cuda", pictures)
    assert [path.name for path in tmp_path.iterdir()] == ["engine.plan"]
    assert (tmp_path / "engine.plan").stat().st_size > 5e6
    with pytest.raises(EngineError, match="fp8_e4m3"):  # so there are such products in it
        replace(TENSORRT_RTX, fp8_cards=("SM80",)).build(halves()["aerial"], tmp_path, "fp8", 256, "cuda", pictures)


@pytest.mark.parametrize(
    ("card", "has"),
    [((8, 0), False), ((8, 6), False), ((8, 9), True), ((9, 0), True), ((10, 0), True), ((12, 0), True)],
)
def test_8_bit_floats_are_refused_on_cards_without_them(card: tuple[int, int], has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: card)
    monkeypatch.setattr(Flavour, "missing", lambda self, device: None)
    options = RuntimeOptions(runtime="tensorrt", precision="fp8", device="cuda")
    if has:
        assert choose(options) == Chosen("tensorrt", "fp8", "asked for")
    else:
        with pytest.raises(UsageError, match=r"--precision fp8: tensorrt on cuda has fp16, bf16, fp32; fp8 is .* 8\.9 and newer"):
            choose(options)


def test_tensorrt_rtx_has_no_engines_for_later_versions_and_is_not_asked_for_them(
    halves: Callable[[], dict[str, Half]], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="tensorrt-rtx runs engines of its own version alone; tensorrt has it"):
        backend("tensorrt-rtx", compatible=True)
    with pytest.raises(EngineError, match="libnvinfer_lean"):  # why: where a release of it brings the library, offer it
        replace(TENSORRT_RTX, compatible=True).build(halves()["reference"], tmp_path, "fp16", 1, "cuda", NO_PICTURES)


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what sets TensorRT's version; its cards stand for one that is here."""
    monkeypatch.setattr("crossgeo.engine.runtime.choose.device_label", lambda device: "a card, 9.0")

    def install(version: str) -> None:
        monkeypatch.setattr("crossgeo.engine.runtime.tensorrt.installed", lambda package: version)

    return install


def test_engines_for_later_versions_are_other_engines_and_are_found_by_later_versions(
    versions: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, pictures: Pixels, tmp_path: Path
) -> None:
    seen: list[bool] = []

    def written(self: Flavour, half: Half, folder: Path, *_: object) -> None:
        seen.append(self.compatible)
        (folder / "engine.plan").write_bytes(b"a plan")

    monkeypatch.setattr(Flavour, "build", written)
    monkeypatch.setattr(Flavour, "load", lambda self, folder, half, *_: lambda inputs: tuple(map(by_torch(half), inputs)))
    made = half("egotr-s")
    options = RuntimeOptions(runtime="tensorrt", device="cuda", folder=tmp_path)
    compatible, plain = Chosen("tensorrt", "fp16", "", True), Chosen("tensorrt", "fp16", "")
    versions("10.13.2.6")
    first = build(made, compatible, options, lambda: pictures)
    assert (first.key.version, first.key.compatible) == ("10", True)
    assert key_of(made, plain, options).digest != first.key.digest
    versions("10.14.1")
    assert build(made, plain, options, None) == first  # found, and not built
    versions("11.0.0")
    own = build(made, plain, options, lambda: pictures)
    assert own.key.version == "11.0.0" and seen == [True, False]


def by_torch(half: Half) -> Callable[[np.ndarray], np.ndarray]:
    def run(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(half.module(torch.from_numpy(rows))[0].numpy())

    return run
