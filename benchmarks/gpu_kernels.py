"""Kernels on the GPU against the same on the CPU, in float64: how far apart they come out, and how many times as fast they are.

python benchmarks/gpu_kernels.py [--device cuda]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from common import record
from torch import Tensor

from crossgeo.kernels.attention import attention
from crossgeo.kernels.box_decode import decode_boxes
from crossgeo.kernels.click_map import click_map
from crossgeo.kernels.polar import polar_definition, polar_transform

ROUNDS = 20
APART = 1e-5  # relative to the largest value, float32 against float64
ROUNDED = {"polar_transform": 2e-4}  # coordinates of hundreds of pixels in float32: a twentieth of a grey level on noise
ANCHORS = torch.tensor([(23.0, 23.0), (57.0, 52.0), (128.0, 128.0)])


def cases() -> dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]]:
    """Return each kernel with an input of the size that it is used at."""
    draw = torch.Generator().manual_seed(1)
    heads = [torch.randn(8, 12, 257, 64, generator=draw) for _ in range(3)]
    aerial = torch.rand(8, 3, 750, 750, generator=draw) * 255.0
    raw = torch.randn(8, 3, 5, 64, 64, generator=draw)
    clicks = torch.rand(8, 2, generator=draw) * 256.0
    return {
        "polar_transform": (polar_transform, (aerial,)),
        "polar_definition": (polar_definition, (aerial[:1],)),
        "attention": (attention, tuple(heads)),
        "click_map": (lambda points: click_map(points, 256, 512), (clicks,)),
        "decode_boxes": (lambda maps, anchors: decode_boxes(maps, anchors, 16)[0], (raw, ANCHORS)),
    }


def seconds(call: Callable[[], object], device: str) -> float:
    """Return the median time of a call, all of its work done."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return median(taken[2:])


def main() -> None:
    """Compare all kernels, and fail where one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    device = parser.parse_args().device
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    results: dict[str, Any] = {}
    for name, (kernel, inputs) in cases().items():
        there = [tensor.to(device) for tensor in inputs]
        true = kernel(*(tensor.double() for tensor in inputs)).double()
        found = kernel(*there).double().cpu()
        apart = float((found - true).abs().max() / true.abs().max())
        ratio = seconds(lambda k=kernel, i=inputs: k(*i), "cpu") / seconds(lambda k=kernel, i=there: k(*i), device)
        results[name] = {"largest_difference": apart, "times_as_fast_as_this_cpu": ratio, "agrees": apart < ROUNDED.get(name, APART)}
    machine = torch.cuda.get_device_name() if device != "cpu" else "cpu"
    record("gpu-kernels", {"device": machine, "result": results})
    if not all(result["agrees"] for result in results.values()):
        raise SystemExit("a kernel differs from what it gives in float64 on the CPU")


if __name__ == "__main__":
    main()
