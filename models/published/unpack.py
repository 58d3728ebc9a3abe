"""The process in which a stranger's checkpoint is opened: limited, told to load tensors alone, and gone afterwards.

    python -m crossgeo.models.published.unpack SOURCE OUT CONTAINER ...

writes the tensors of the first containers found (`state_dict`, or `.` for the file itself; several joined by `+` belong together) to OUT
as safetensors, under `container/name`, and prints one line of JSON: what was found, or which problem there was.
"""

from __future__ import annotations

import json
import pickle
import re
import resource
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

WHOLE = "."  # the file itself, where it holds tensors without a container
MEMORY_BYTES = 6 * 2**30  # of addresses, beside those of the file: the libraries' own, and room to read
CPU_S = 600
SWELLS, SPARE_BYTES = 4, 2**24  # how much more room than the file its tensors may take: those that share storage are written out each


class Refused(Exception):
    """Why a file is not read, as (kind, what)."""


def limit(source: Path) -> None:
    """Bound what this process may take: addresses, time, the size of what it writes, no core file."""
    size = source.stat().st_size
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES + 2 * size),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, SWELLS * size + 2 * SPARE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def load(source: Path) -> Any:
    """Read a .pth, .pt, .tar, .npz or .safetensors file; a zip-format checkpoint is mapped, so that only what is taken is read."""
    if source.suffix == ".npz":
        with zipfile.ZipFile(source) as packed:
            _check_room(sum(item.file_size for item in packed.infolist()), source)
        with np.load(source, allow_pickle=False) as arrays:
            found = ((name, np.asarray(arrays[name], order="C")) for name in arrays.files)
            return {name: torch.from_numpy(array) for name, array in found if array.dtype.kind in "fiub"}
    scalar: Any = np.float64(0.0).__reduce__()[0]
    numbers: list[Any] = [np.dtype, *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool"))]
    with torch.serialization.safe_globals([*numbers, scalar, (scalar, "numpy.core.multiarray.scalar")]):  # losses and epochs
        return torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))


def choose(found: Any, containers: Sequence[str]) -> dict[str, Tensor]:
    """Return the tensors of the first of the containers that a file has; Refused where it has none."""
    if not isinstance(found, Mapping):
        raise Refused("structure", f"holds a {type(found).__name__}, not named tensors")
    for container in containers:
        names = container.split("+")
        parts = {name: found if name == WHOLE else found.get(name) for name in names}
        if all(_tensors(part) for part in parts.values()):
            return {f"{name}/{key}": tensor for name, part in parts.items() for key, tensor in _tensors(part).items()}
    shown = ", ".join(str(key) for key in list(found)[:6]) or "nothing"
    raise Refused("structure", f"holds {shown}; expected {' or '.join(containers)}")


def _check_room(size: int, source: Path) -> None:
    """Refuse what would take far more room than its file: no weights shrink so, and a trap does."""
    if size > SWELLS * source.stat().st_size + SPARE_BYTES:
        raise Refused("structure", f"its tensors take {size / 1e6:.0f} MB, far more than the file; do not use it")


def _tensors(part: Any) -> dict[str, Tensor]:
    """Return the tensors of a state dictionary, none where it is not one; what is not a tensor in it is left aside."""
    if not isinstance(part, Mapping):
        return {}
    found = {str(key): value for key, value in part.items() if isinstance(value, Tensor)}
    for name, tensor in found.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise Refused("structure", f"{name} is a {tensor.dtype} tensor of layout {tensor.layout}, which no network here has")
    return found


def unpack(source: Path, out: Path, containers: Sequence[str]) -> dict[str, Any]:
    """Write the chosen tensors; Refused where the file is not one that is read."""
    try:
        taken = choose(load(source), containers)
    except pickle.UnpicklingError as error:
        named = re.search(r"[Uu]nsupported (?:global: )?GLOBAL (\S+)", str(error))
        what = f"it calls {named[1]}" if named else "a pickle that holds more than tensors"
        raise Refused("code", what) from error
    except (RuntimeError, EOFError, ValueError, TypeError, OSError, zipfile.BadZipFile, KeyError) as error:
        raise Refused("damaged", _first_line(error)) from error
    _check_room(sum(tensor.numel() * tensor.element_size() for tensor in taken.values()), source)
    # A view of a larger tensor would be written with all that it is a view of, and shared ones twice.
    try:
        save_file({name: tensor.detach().contiguous() for name, tensor in _unshared(taken).items()}, out)
    except SafetensorError as error:
        raise Refused("room", f"its tensors could not be written to {out.parent} ({_first_line(error)}); make room there") from error
    return {"tensors": len(taken)}


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        out[name] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    return out


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


def main(arguments: Sequence[str]) -> None:
    """Run in a process of its own."""
    source, out, *containers = arguments
    limit(Path(source))
    torch.set_num_threads(1)
    try:
        said = unpack(Path(source), Path(out), containers)
    except Refused as refused:
        said = {"problem": refused.args[0], "what": refused.args[1]}
    except MemoryError:
        said = {"problem": "memory", "what": "needs more memory than such a file should"}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
