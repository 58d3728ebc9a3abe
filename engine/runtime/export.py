"""The one way from a half to ONNX: any batch, float32, or a low precision throughout for runtimes that keep the types they are given."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossgeo import disk
from crossgeo.engine.runtime.half import STEP_PX, Half, Slot
from crossgeo.errors import EngineError
from crossgeo.models.fold_convnext import fold_blocks
from crossgeo.models.low_precision import cast_whole

OPSET = 23
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float16}
_LARGEST = 4096
_BATCH = 3  # of the example; not 1, which an export would take for a constant
_SIZES = {"height": 10 * STEP_PX, "width": 12 * STEP_PX}


class _Typed(nn.Module):
    """A half whose weights are of a low precision, with float32 outside."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = cast_whole(module, dtype, batch_norms=True)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Map float32 or uint8 inputs to float32 outputs; clicks are read to the pixel, which 8 bits of bfloat16 would not hold."""
        return tuple(output.float() for output in self.module(*inputs))


def export_onnx(half: Half, path: Path, types: str = "fp32") -> None:
    """Write a half as ONNX for any batch; raise EngineError where torch cannot, LimitError for a full disk.

    `types` other than fp32 are for strongly typed runtimes; sums of squares and norms stay in float32 there, as the modules have them.
    fp8 is fp16 with all linear layers left as products, which `fp8.quantise` takes on.
    """
    module: nn.Module = copy.deepcopy(half.module).eval()
    if types != "fp8":
        module = fold_blocks(module)
    if types != "fp32":
        module = _Typed(module, _DTYPES[types])
    batch = torch.export.Dim("batch", min=1, max=_LARGEST)
    sizes = {name: STEP_PX * torch.export.Dim(f"{name}_steps", min=2, max=128) for name in _SIZES}
    shapes: list[dict[int, Any]] = []
    for slot in half.inputs:
        shapes.append({0: batch} | {at: sizes[size] for at, size in enumerate(slot.shape, start=1) if isinstance(size, str)})
    # A module of one star argument takes its shapes as one tuple.
    dynamic: tuple[Any, ...] = tuple(shapes) if types == "fp32" else (tuple(shapes),)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    try:
        quiet.setLevel(logging.ERROR)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, tuple(_example(slot) for slot in half.inputs), dynamo=True, opset_version=OPSET, verbose=False,
                input_names=[slot.name for slot in half.inputs], output_names=list(half.outputs), dynamic_shapes=dynamic,
            )  # fmt: skip
        assert program is not None
        with disk.guarded(path):
            program.save(str(path), external_data=False)
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as error:
        raise EngineError(f"{half.title}: cannot be exported to ONNX: {str(error).splitlines()[0]}; take --runtime torch") from error
    finally:
        quiet.setLevel(level)


def _example(slot: Slot) -> Tensor:
    shape = (_BATCH, *(_SIZES[size] if isinstance(size, str) else size for size in slot.shape))
    return torch.zeros(shape, dtype=torch.uint8) if slot.dtype == "uint8" else torch.zeros(shape)
