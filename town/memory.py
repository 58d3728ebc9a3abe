"""How large a town this machine has memory for."""

from __future__ import annotations

import math
from pathlib import Path

from crossgeo.errors import LimitError

BYTES_PER_PIXEL = 44  # at the peak, while the orthophoto is shaded: 39.2 measured at 3,000 px a side, and 4 of bare ground
STREET_BYTES_PER_M2 = 900  # of triangles and the trees over them: 2.2 GB in all measured for a square kilometre
_REST_BYTES = 200_000_000  # libraries, plan, one photo
_SHARE = 0.9  # of what is free
_UNKNOWN_BYTES = 9_300_000_000  # taken for free where the system does not say: a town of 3 km at 0.2 m


def check_memory(size_m: float, gsd_m: float, street: bool = False) -> None:
    """Raise LimitError, saying what would fit, where a square town of `size_m` at `gsd_m` a pixel needs more memory than is free.

    street: whether street photos are to be taken in it.
    """
    each_m2 = BYTES_PER_PIXEL / gsd_m**2 + (STREET_BYTES_PER_M2 if street else 0.0)
    needed, free = _REST_BYTES + each_m2 * size_m**2, free_bytes()
    if needed <= _SHARE * free:
        return
    most_m = math.sqrt(max(0.0, _SHARE * free - _REST_BYTES) / each_m2)
    fits = f"make it at most {int(most_m / 50.0) * 50} m wide" if most_m >= 100.0 else "close other programs"
    raise LimitError(
        f"a town of {size_m:g} m at {gsd_m:g} m a pixel takes {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; {fits}"
    )


def free_bytes(system: Path = Path("/")) -> float:
    """Return the bytes of memory that a program may still take, by Linux's own account and the control group's limit."""
    free = [float(_UNKNOWN_BYTES)]
    meminfo, group = system / "proc/meminfo", system / "sys/fs/cgroup"
    if meminfo.is_file():
        rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in rows:
            free = [1024.0 * int(rows["MemAvailable"].split()[0])]
    for most, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        if (group / most).is_file() and (group / used).is_file():
            limit = (group / most).read_text().strip()
            if limit.isdigit():
                taken = float((group / used).read_text()) - _cached_bytes((group / used).with_name("memory.stat"))
                free.append(max(0.0, float(limit) - taken))
    return min(free)


def _cached_bytes(path: Path) -> float:
    """The file cache that a control group counts as used, but gives up when asked."""
    rows = [line.split() for line in path.read_text().splitlines()] if path.is_file() else []
    return sum(float(size) for name, size in rows if name == "inactive_file")
