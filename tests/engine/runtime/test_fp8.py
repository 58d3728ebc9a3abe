"""engine/runtime/fp8.py: products of 8-bit floats answer nearly as torch does, and nothing else of a network changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from crossgeo.engine.runtime import Array
from crossgeo.engine.runtime.batched import Call
from crossgeo.engine.runtime.check import check
from crossgeo.engine.runtime.export import export_onnx
from crossgeo.engine.runtime.fp8 import quantise
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.engine.runtime.halves import describing
from crossgeo.errors import EngineError
from crossgeo.models.checkpoint import load_egotr
from crossgeo.models.fold import fold_branch
from crossgeo.models.views import DroneView

Halves = Callable[[], dict[str, Half]]


def interpreted(path: Path, half: Half) -> Call:
    """Run a graph on the processor, 8-bit floats and all."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def call(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        given = {slot.name: rows for slot, rows in zip(half.inputs, inputs, strict=True)}
        return tuple(session.run(list(half.outputs), given))

    return call


def test_the_shipped_weights_pass_their_check_with_products_of_8_bits(pictures: Pixels, tmp_path: Path) -> None:
    loaded = load_egotr("egotr-s-drone")
    half = describing(fold_branch(loaded.module.aerial), DroneView(), "aerial", ("egotr-s-drone", loaded.sha256), "v")
    path = tmp_path / "model.onnx"
    export_onnx(half, path, "fp8")
    before = onnx.load(path)
    assert quantise(path, half, pictures) == 33  # four a layer, and the class token's query of the last
    found = check(half, interpreted(path, half), pictures)
    assert found.problems == () and 0.999 <= found.figures["descriptors_cosine_least"] < 0.99999
    after = onnx.load(path)
    onnx.checker.check_model(after)
    small = [one for one in after.graph.initializer if one.data_type == onnx.TensorProto.FLOAT8E4M3FN and one.dims]
    assert len(small) == 33 and sum(int(np.prod(one.dims)) for one in small) > 3e6
    counts = Counter(node.op_type for node in after.graph.node)
    own = {"QuantizeLinear": 33, "DequantizeLinear": 66}
    assert {name: counts.pop(name) for name in own} == own and counts == Counter(node.op_type for node in before.graph.node)


def test_weights_and_what_meets_them_are_scaled_to_what_8_bits_hold(halves: Halves, pictures: Pixels, tmp_path: Path) -> None:
    half, path = halves()["aerial"], tmp_path / "model.onnx"
    export_onnx(half, path, "fp8")
    quantise(path, half, pictures)
    held = {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
    matrices = [name.removesuffix("_e4m3") for name in held if name.endswith("_e4m3")]
    assert len(matrices) >= 8
    for name in matrices:
        assert 400.0 <= np.abs(held[f"{name}_e4m3"].astype(np.float32)).max() <= 448.0
        assert held[f"{name}_scale"] > 0.0 and held[f"{name}_scale"].dtype == np.float16


def network(half: Half, path: Path, body: str) -> Half:
    """Write a network of one input by hand, and return a half that it may stand for."""
    text = f"""<ir_version: 10, opset_import: ["" : 23]> agraph (float[b, 3, 64, 64] images) => (float[b, 3, 64, d] descriptors)
    <float[64, 2] weight = {{{", ".join(["0.5"] * 128)}}}, float large = {{70000.0}}> {{ {body} }}"""
    onnx.save(onnx.parser.parse_model(text), path)
    return half


def test_a_half_without_linear_layers_stays_as_it_is(halves: Halves, pictures: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    half = network(halves()["aerial"], path, "scaled = Mul(images, large) descriptors = MatMul(scaled, images)")
    before = path.read_bytes()
    assert quantise(path, half, pictures) == 0
    assert path.read_bytes() == before


def test_values_beyond_16_bits_calibrate_nothing(halves: Halves, pictures: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    half = network(halves()["aerial"], path, "scaled = Mul(images, large) descriptors = MatMul(scaled, weight)")
    with pytest.raises(EngineError, match="values pass what 16 bits hold; take --precision bf16"):
        quantise(path, half, pictures)
