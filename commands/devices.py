"""Where networks run, as commands are told with `--device`."""

from __future__ import annotations

import re

from crossgeo.errors import UsageError

HELP = "cpu, cuda, cuda:1; auto takes a GPU if there is one."


def device_of(asked: str) -> str:
    """Return torch's name of the device asked for, `auto` being a GPU if there is one; raise UsageError for one that is not to be had."""
    import torch

    from crossgeo.engine.runtime.torch import no_gpu

    why_not = no_gpu()
    gpus = torch.cuda.device_count() if why_not is None else 0
    if asked == "auto":
        return "cuda" if gpus else "cpu"
    if asked == "cpu":
        return asked
    named = re.fullmatch(r"cuda(?::([0-9]+))?", asked)
    if named is None:
        raise UsageError(f"--device {asked}: no such device; give cpu, cuda, cuda:1 or auto")
    if int(named[1] or 0) >= gpus:
        here = why_not or f"GPUs are counted from 0 to {gpus - 1} here"
        raise UsageError(f"--device {asked}: {here}; give cpu or auto")
    try:
        torch.zeros(1, device=asked)
    except RuntimeError as error:  # one that is there, but taken or out of order
        raise UsageError(f"--device {asked}: {str(error).splitlines()[0]}; give cpu or auto") from error
    return asked
