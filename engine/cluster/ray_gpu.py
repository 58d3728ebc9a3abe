"""The GPU of a worker of Ray.

Ray says for each task anew which one it may use, and may say another to a process that is used again, whose models lie on the first: a
process that is started later would then share one GPU with it while another has nothing to do. So a process keeps the GPU that it began
with, one that no other process of its node keeps, whatever Ray says.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

_kept: list[tuple[str, socket.socket]] = []  # at most one, for as long as this process lives


def use_one() -> None:
    """Have this process use its GPU, in a task of Ray that was given one; elsewhere nothing changes."""
    import ray
    from ray._private.accelerators import get_accelerator_manager_for_resource

    context = ray.get_runtime_context()
    told = [str(gpu) for gpu in context.get_accelerator_ids().get("GPU", [])]
    if len(told) != 1:
        return
    if not _kept:
        node = context.get_node_id()
        count = next((int(one["Resources"].get("GPU", 0)) for one in ray.nodes() if one["NodeID"] == node), 0)
        keep_one(told, gpus_of(os.getppid(), count), node)
    if _kept and _kept[0][0] != told[0]:
        get_accelerator_manager_for_resource("GPU").set_current_process_visible_accelerator_ids([_kept[0][0]])


def keep_one(told: Sequence[str], of_node: Sequence[str], node: str) -> str | None:
    """Keep a GPU of a node that no process of it keeps, the one that Ray told first, and return it.

    None where all are kept, by another driver's processes then, or the system has no such locks: Ray's word stands.
    """
    for gpu in dict.fromkeys([*told, *of_node]):
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(f"\0crossgeo-gpu-{node}-{gpu}")  # a name of no file, which goes with its process
        except OSError:
            held.close()
        else:
            _kept.append((gpu, held))
            return gpu
    return None


def gpus_of(raylet: int, count: int) -> list[str]:
    """Return the `count` GPUs that a node of Ray gives out: those that its raylet may see, or the first ones; none where it is not seen."""
    try:
        variables = Path(f"/proc/{raylet}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
    seen = dict(variable.decode("utf-8", "replace").partition("=")[::2] for variable in variables).get("CUDA_VISIBLE_DEVICES", "")
    return [name.strip() for name in seen.split(",")][:count] if seen.strip() else [str(number) for number in range(count)]
