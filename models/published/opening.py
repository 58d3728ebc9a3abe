"""Published checkpoints opened safely: whatever is not plain tensors goes through a process of its own (`unpack.py`)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from crossgeo.errors import LimitError, WeightsError
from crossgeo.models.tensors import read_tensors

PICKLED = (".pth", ".pt", ".tar", ".bin", ".ckpt", ".npz")
TIMEOUT_S = 1200


@contextmanager
def opened(path: Path, containers: Sequence[str]) -> Iterator[dict[str, dict[str, Tensor]]]:
    """Give the tensors of a checkpoint by container and name, as they are, mapped from disk: gone when the block ends.

    `containers` are where to look, first found first: `state_dict`, `.` for the file itself, `a+b` for two that belong together.
    Raises WeightsError for a file that is missing, damaged, holds code or something else, LimitError when opening it takes too much.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give a checkpoint as .safetensors, .pth or .npz")
    if path.suffix == ".safetensors":
        yield {".": read_tensors(path)}
        return
    if path.suffix not in PICKLED:
        raise WeightsError(f"{path}: not a kind of checkpoint that is read; give .safetensors, {', '.join(PICKLED)}")
    with tempfile.TemporaryDirectory(prefix="crossgeo-") as folder:
        unpacked = Path(folder) / "tensors.safetensors"
        _unpack(path, unpacked, containers)
        found: dict[str, dict[str, Tensor]] = {}
        for name, tensor in read_tensors(unpacked).items():
            container, _, own = name.partition("/")
            found.setdefault(container, {})[own] = tensor
        yield found


def _unpack(path: Path, out: Path, containers: Sequence[str]) -> None:
    """Run `unpack.py` and say what it found wrong."""
    # -P: with -m alone, modules in the current folder, which may be the stranger's, would be imported first.
    command = [sys.executable, "-P", "-m", "crossgeo.models.published.unpack", str(path.absolute()), str(out), *containers]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise LimitError(f"{path}: not opened within {TIMEOUT_S} s; is it a checkpoint?") from error
    try:
        said = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        last = (done.stderr.strip().splitlines() or ["it was ended"])[-1]
        raise WeightsError(f"{path}: could not be opened ({last}); fetch it again") from None
    what = said.get("what", "")
    match said.get("problem"):
        case "code":
            raise WeightsError(f"{path}: not plain tensors ({what}), and code is never run; ask its author for a .safetensors file")
        case "damaged":
            raise WeightsError(f"{path}: not a whole checkpoint ({what}); fetch it again")
        case "structure":
            raise WeightsError(f"{path}: {what}; is it of another model?")
        case "memory" | "room":
            raise LimitError(f"{path}: {what}")
