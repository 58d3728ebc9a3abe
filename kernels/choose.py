"""Which backend runs an op: its definition or torch's own kernels ("torch"), or the Triton twin in kernels/triton/ ("triton")."""

from __future__ import annotations

import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from crossgeo.errors import UsageError

BACKENDS = ("auto", "torch", "triton")
_FIRST_CAPABILITY = (8, 0)  # the twins are compiled and checked for Ampere and what came after it


def lacking() -> str | None:
    """Return what Triton lacks on this machine, None for nothing: it builds the launchers of its kernels from C."""
    if not _INSTALLED:
        return "Triton is not installed"
    if shutil.which("gcc") is None and shutil.which("clang") is None:
        return "Triton needs a C compiler (gcc or clang)"
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # Debian's; Triton reads them so, too
    headers = Path(sysconfig.get_path("include", scheme))
    return None if (headers / "Python.h").is_file() else f"Triton needs Python's C headers (no Python.h in {headers})"


_INSTALLED = find_spec("triton") is not None
_LACKING = lacking()


def choose(backend: str, *tensors: Tensor, unsupported: str | None = None, worth: bool = True) -> str:
    """Return "torch" or "triton" for an op on `tensors`; "auto" may pick either, a backend asked for by name runs or raises.

    `unsupported` says what of this call the Triton twin cannot do, None for nothing ("heads of 512 channels"). `worth` is whether "auto"
    should take the twin where it can run. UsageError for an unknown backend, and where "triton" is asked for and cannot run.
    """
    if backend == "torch":
        return "torch"
    if backend not in BACKENDS:
        raise UsageError(f"{backend!r} is no backend; there are {', '.join(BACKENDS)}")
    if backend == "auto" and not worth:
        return "torch"
    hindrance = unsupported or _hindrance(tensors, interpreted=backend == "triton")
    if backend == "triton" and hindrance:
        raise UsageError(f"the backend 'triton' cannot run here: {hindrance}; ask for 'torch' or 'auto'")
    return "torch" if hindrance else "triton"


def _hindrance(tensors: tuple[Tensor, ...], interpreted: bool) -> str | None:
    """Return what keeps Triton from running on these tensors, None if nothing does; on a CPU only its interpreter runs."""
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        return f"tensors lie on several devices ({', '.join(sorted(map(str, devices)))})"
    if any(tensor.requires_grad for tensor in tensors) and torch.is_grad_enabled():
        return "a gradient is wanted"
    (device,) = devices
    if device.type == "cpu":
        return None if interpreted and _INSTALLED and _interpreting() else "tensors lie on the CPU"
    if device.type != "cuda":
        return f"tensors lie on {device}"
    if _LACKING is not None:
        return _LACKING
    return None if _capable(device) else f"{device} is older than compute capability {'.'.join(map(str, _FIRST_CAPABILITY))}"


def _interpreting() -> bool:
    """Return whether Triton was imported with TRITON_INTERPRET=1, so that its kernels are run by NumPy on CPU tensors."""
    import triton
    import triton.language as tl

    return not isinstance(tl.max, triton.JITFunction)


def _capable(device: torch.device) -> bool:
    card = torch.cuda.get_device_properties(device)
    return (card.major, card.minor) >= _FIRST_CAPABILITY
