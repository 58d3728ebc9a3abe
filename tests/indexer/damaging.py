"""Damage every file of an index in every way, open it in a child each time, and print what came of it as JSON; run by test_damaged.py."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from forking import forked

from crossgeo.errors import GeoError
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.verify import verify_index

WHOLE, OUT = Path(sys.argv[1]), Path(sys.argv[2])
PAGE = 4096


def ask(index_path: Path) -> list[Any]:
    """Ask an index for all it can tell; return the answers, or the error's kind and text."""
    try:
        with GeoIndex.open(index_path) as index:
            scores, ids = index.search(index.descriptors(np.arange(0, len(index), 5)), 4)
            pixels = [int(index.read_windows(s, index.centres[s.first_id : s.first_id + 9], 60.0, 32)[0].sum()) for s in index.segments]
            return ["answer", [np.round(scores, 3).tolist(), ids.tolist(), pixels]]
    except GeoError as error:
        return [type(error).__name__, str(error)]


def damages(data: bytes, rng: random.Random) -> Iterator[tuple[str, bytes | None]]:
    """Yield ways to damage a file: what was done, and the bytes that are left (None: no file)."""
    yield "removed", None
    for size in (0, 1, len(data) // 3, len(data) // PAGE // 2 * PAGE, len(data) - 1):
        yield f"cut to {size}", data[:size]
    yield "lengthened", data + b"\0"
    for _ in range(6):
        at = rng.randrange(len(data))
        yield f"bit flipped in byte {at}", data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    for at in sorted({rng.randrange((len(data) + PAGE - 1) // PAGE) * PAGE for _ in range(4)}):
        zeros = bytes(min(PAGE, len(data) - at))
        yield f"page at {at} zeroed", data[:at] + zeros + data[at + len(zeros) :]


def main() -> None:
    """Try all damages of all files."""
    oracle = forked(lambda: ask(WHOLE))[1]
    copy = OUT / "damaged.geo"
    shutil.copytree(WHOLE, copy)
    rng = random.Random(0)
    results = []
    for path in sorted(p for p in copy.rglob("*") if p.is_file() and p.name != "LOCK"):
        data = path.read_bytes()
        for what, left in damages(data, rng):
            if left == data:
                continue
            path.unlink() if left is None else path.write_bytes(left)
            ended, said = forked(lambda: [ask(copy), verify_index(copy) if (copy / "CURRENT").exists() else ["CURRENT"]])
            results.append({"file": path.name, "damage": what, "ended": ended, "said": said})
            path.write_bytes(data)
    print(json.dumps({"oracle": oracle, "again": forked(lambda: ask(copy))[1], "results": results}))


main()
