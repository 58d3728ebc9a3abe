"""Trace the halves as torch-compile traces them for a GPU that is not here; run by test_tracing.py as a process of its own.

Tensors are fake ones that say they lie on cuda:0, which have shapes and no values: what asks for a value, as `item()` does, ends the
graph. Torch for CPUs alone has no notion of a current GPU, so it is given one that does nothing, for the whole of the process.
"""

from __future__ import annotations

import copy
import ctypes
import json
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.cpp_extension import include_paths, library_paths

from crossgeo.engine.runtime import torch_compile
from crossgeo.engine.runtime.half import Half
from crossgeo.engine.runtime.halves import describing, mapping, object_halves
from crossgeo.engine.runtime.torch import lowered
from crossgeo.models.attengeo import PRESETS as OBJECTS
from crossgeo.models.attengeo import AttenGeo
from crossgeo.models.egotr import PRESETS, EgoTR
from crossgeo.models.fold import fold_branch
from crossgeo.models.views import DroneView

DEVICE = torch.device("cuda:0")
ROWS = 3  # filled up to the rung of four
_FAKE = FakeTensorMode(allow_non_fake_inputs=True)
_NO_GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
static c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> guard;
static c10::impl::DeviceGuardImplRegistrar registrar(c10::DeviceType::CUDA, &guard);
"""


@dataclass(frozen=True)
class Card:
    """What is asked of a card while networks are traced."""

    major: int = 9
    minor: int = 0


def stand_in() -> None:
    """Answer what is asked of a card while networks are traced, where there is none."""
    cuda = cast(Any, torch.cuda)
    constants = torch._dynamo.utils.common_constant_types
    assert cuda._CudaDeviceProperties in constants  # which a graph may hold; so it may this one
    constants.add(Card)
    cuda._lazy_init = lambda: None
    cuda.device_count = lambda: 1
    cuda._get_device_properties = lambda index: Card()
    cuda.amp.common.amp_definitely_not_available = lambda: False
    if torch.version.cuda is None:
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder) / "guard.cpp", Path(folder) / "guard.so"
            source.write_text(_NO_GUARD)
            includes = [f"-I{path}" for path in include_paths()]
            libraries = [f"-L{path}" for path in library_paths()]
            subprocess.run(["g++", "-shared", "-fPIC", "-std=c++20", *includes, source, "-o", library, *libraries, "-lc10"], check=True)
            ctypes.CDLL(str(library))


def halves() -> list[Half]:
    """Make the halves of small networks, each with weights of its own; ConvNeXt blocks are in two of them."""
    view, model, digest = DroneView(size_px=64), ("small", "0" * 64), "v" * 16
    torch.manual_seed(0)
    branch = fold_branch(EgoTR(replace(PRESETS["egotr-s"], layers=2)).eval().aerial)
    found = [describing(branch, view, "aerial", model, digest), mapping(branch, view, "maps", model, digest)]
    found.append(describing(branch, view, "ground", model, digest, with_maps=True))
    small = replace(OBJECTS["attengeo-s"], iterations=1)
    blocks = replace(small, name="blocks", backbone="convnextv2", depths=(1, 1, 1), widths=(16, 32, 64))
    street = replace(blocks, name="street", look_deg=64.0)
    for config, taken in ((small, ("query",)), (blocks, ("reference", "query")), (street, ("reference",))):
        named = object_halves(AttenGeo(config).eval(), model)
        found += [replace(half, name=f"{config.name} {half.name}") for half in named if half.name in taken]
    return [replace(half, module=copy.deepcopy(half.module)) for half in found]


def fakes(module: nn.Module, _: torch.device, precision: str) -> nn.Module:
    """Do what `made_ready` does, but that the weights on the GPU are fake."""
    module = cast(nn.Module, module.to(memory_format=torch.channels_last)).eval()  # type: ignore[call-overload]
    if precision != "fp32":
        lowered(module, DEVICE.type, precision)
    for part in module.modules():
        for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            with _FAKE:
                there = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=DEVICE)
            if isinstance(tensor, nn.Parameter):
                part.register_parameter(name, nn.Parameter(there, requires_grad=False))
            else:
                part.register_buffer(name, there, persistent=False)
    return module


def traced(half: Half, precision: str) -> dict[str, Any]:
    """Return what torch-compile hands to its compiler: graphs, how often each op of ours is in them, where tensors lie, sizes left open."""
    graphs: list[torch.fx.GraphModule] = []
    compile_ = torch.compile

    def noted(function: Any, *, mode: str | None, fullgraph: bool) -> Any:
        assert (mode, fullgraph) == ("reduce-overhead", True)

        def keep(graph: torch.fx.GraphModule, _: Any) -> Any:
            graphs.append(graph)
            return graph.forward

        return compile_(function, backend=keep, fullgraph=True)

    with patch.object(torch, "compile", noted), patch.object(torch_compile, "made_ready", fakes):
        call = cast(Any, torch_compile.load(half.module, precision, str(DEVICE)))
    with _FAKE:
        given = tuple(torch.empty((ROWS, *slot.shape), dtype=getattr(torch, slot.dtype), device=DEVICE) for slot in sized(half))
        outputs = call._joined(given)
    nodes = [node for graph in graphs for node in graph.graph.nodes]
    values = [node.meta.get("example_value") for node in nodes]
    tensors = [value for value in values if isinstance(value, Tensor)]
    return {
        "graphs": len(graphs),
        "ours": Counter(str(node.target).split(".")[1] for node in nodes if str(node.target).startswith("crossgeo.")),
        "devices": sorted({str(tensor.device) for tensor in tensors}),
        "open": [str(value) for value in values if isinstance(value, torch.SymInt | torch.SymFloat)],
        "shapes": [list(output.shape) for output in outputs],
    }


def sized(half: Half) -> list[Any]:
    """Return a half's inputs, a size that varies set."""
    return [replace(slot, shape=tuple(size if isinstance(size, int) else 64 for size in slot.shape)) for slot in half.inputs]


def main() -> None:
    """Trace each half in bf16, and in fp16 what autocast is on for."""
    if not torch.cuda.is_available():
        stand_in()
    found = {f"{half.name} bf16": traced(half, "bf16") for half in halves()}
    found |= {f"{half.name} fp16": traced(half, "fp16") for half in halves() if half.name in ("aerial", "blocks query")}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
