"""8-bit floats for the products of an exported network: E4M3 with one scale a tensor, activations scaled by what real pictures give.

Linear layers, whose weights are constants, get QuantizeLinear and DequantizeLinear before both operands, which TensorRT joins into products
of 8-bit floats (Micikevicius et al. 2022, "FP8 formats for deep learning"). Convolutions, attention and the rest keep their 16 bits:
TensorRT-RTX has 8-bit floats for products alone. A half without linear layers, like a stem, stays as it is.
"""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.errors import EngineError

_MOST = 448.0  # the largest number of E4M3
_MOST_OUTSIDE = 65504.0  # of fp16, which the rest is in
_ROOM = 2.0  # for photos that go beyond the pictures; but for the least numbers a float loses nothing by it
_ROWS = 4  # of the pictures at once


def quantise(path: Path, half: Half, pictures: Pixels) -> int:
    """Rewrite an exported half in place and return how many products it has in 8 bits; raise EngineError where it cannot be calibrated.

    pictures: (N, S, S, 3) uint8 RGB of the ground.
    """
    model = onnx.load(path)
    if not _products(model.graph):
        return 0
    largest = _largest(model, half, pictures)
    held = {one.name: one for one in model.graph.initializer}
    chosen = {node.output[0] for node in _products(model.graph)}
    nodes: list[onnx.NodeProto] = []
    made: dict[str, str] = {}  # what a tensor is called after it went through 8 bits
    for node in model.graph.node:
        if node.output[0] in chosen:
            given, weight = node.input
            if given not in made:
                dtype = numpy_helper.to_array(held[weight]).dtype
                made[given] = _given(model.graph, nodes, given, _scale(_ROOM * largest[given], dtype))
            if weight not in made:
                made[weight] = _weight(model.graph, nodes, weight, numpy_helper.to_array(held[weight]))
            node.input[0], node.input[1] = made[given], made[weight]
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [one for one in model.graph.initializer if one.name in used]
    graph = helper.make_graph(nodes, model.graph.name, model.graph.input, model.graph.output, kept)
    onnx.save(helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version), path)
    return len(chosen)


def _products(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the products of activations with constant matrices."""
    held = {one.name: len(one.dims) for one in graph.initializer}
    return [node for node in graph.node if node.op_type == "MatMul" and held.get(node.input[1]) == 2 and node.input[0] not in held]


def _largest(model: onnx.ModelProto, half: Half, pictures: Pixels) -> dict[str, float]:
    """Return the largest magnitude of what goes into each product, over all pictures, by OpenVINO in float32."""
    import openvino

    watched = onnx.ModelProto.FromString(model.SerializeToString())
    names = sorted({node.input[0] for node in _products(watched.graph)})
    for k, name in enumerate(names):
        watched.graph.node.append(helper.make_node("Abs", [name], [f"magnitudes_{k}"]))
        watched.graph.node.append(helper.make_node("Cast", [f"magnitudes_{k}"], [f"wide_{k}"], to=onnx.TensorProto.FLOAT))
        watched.graph.node.append(helper.make_node("ReduceMax", [f"wide_{k}"], [f"largest_{k}"], keepdims=0))
        watched.graph.output.append(helper.make_tensor_value_info(f"largest_{k}", onnx.TensorProto.FLOAT, []))
    found = np.zeros(len(names))
    try:
        core = openvino.Core()
        call = core.compile_model(core.read_model(watched.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        inputs = half.examples(pictures)
        for start in range(0, len(inputs[0]), _ROWS):
            outputs = call([rows[start : start + _ROWS] for rows in inputs])
            found = np.maximum(found, [float(outputs[f"largest_{k}"]) for k in range(len(names))])
    except RuntimeError as error:
        raise EngineError(f"{half.title}: fp8 cannot be calibrated: {str(error).splitlines()[0]}; take --precision fp16") from error
    if not (found <= _MOST_OUTSIDE).all():
        raise EngineError(f"{half.title}: fp8 cannot be calibrated: values pass what 16 bits hold; take --precision bf16")
    return dict(zip(names, found.tolist(), strict=True))


def _scale(largest: float, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Return what 1 stands for, so that the largest number fits; never zero."""
    return np.asarray(max(largest / _MOST, 1e-6), dtype)


def _given(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], name: str, scale: NDArray[np.generic]) -> str:
    ways = _constants(graph, name, scale)
    nodes.append(helper.make_node("QuantizeLinear", [name, *ways], [f"{name}_e4m3"], f"{name}_quantise"))
    nodes.append(helper.make_node("DequantizeLinear", [f"{name}_e4m3", *ways], [f"{name}_back"], f"{name}_dequantise"))
    return f"{name}_back"


def _weight(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], name: str, weight: NDArray[np.generic]) -> str:
    wide = weight.astype(np.float32)
    scale = _scale(float(np.abs(wide).max()), weight.dtype)
    small = np.clip(wide / scale.astype(np.float32), -_MOST, _MOST).astype(ml_dtypes.float8_e4m3fn)
    graph.initializer.append(numpy_helper.from_array(small, f"{name}_e4m3"))
    ways = _constants(graph, name, scale)
    nodes.append(helper.make_node("DequantizeLinear", [f"{name}_e4m3", *ways], [f"{name}_back"], f"{name}_dequantise"))
    return f"{name}_back"


def _constants(graph: onnx.GraphProto, name: str, scale: NDArray[np.generic]) -> tuple[str, str]:
    """Add a scale and the zero that says that it is for E4M3; return their names."""
    graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
    graph.initializer.append(numpy_helper.from_array(np.zeros((), ml_dtypes.float8_e4m3fn), f"{name}_zero"))
    return f"{name}_scale", f"{name}_zero"
