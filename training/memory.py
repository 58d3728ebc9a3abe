"""Keeping freed memory in the process: a training step frees and asks for the same large blocks again and again."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1  # glibc malloc.h
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tell glibc to reuse large freed blocks rather than hand each back to the system; say whether it agreed.

    Otherwise every activation is mapped afresh and its pages are zeroed by the kernel: a third of a step of AttenGeo-S on a CPU.
    Elsewhere than on glibc this does nothing and returns False.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    return bool(library.mallopt(_M_MMAP_MAX, 0) and library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
