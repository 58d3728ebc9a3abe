"""Ask a folder of features for all that was put there, put what is missing, and print what came of it; run by test_feature_cache.py.

    python asking_features.py FOLDER FIRST COUNT LIMIT_BYTES [fork]

A process of its own, since a damaged file may be the death of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from crossgeo.engine.feature_cache import FeatureCache, Features


def made(number: int) -> tuple[bytes, Features]:
    """Return a key and 16 KiB of features."""
    values = np.random.default_rng(number).standard_normal((2, 16, 16, 16)).astype(np.float16)
    return hashlib.sha256(str(number).encode()).digest(), values


def ask(cache: FeatureCache, first: int, count: int) -> dict[str, int]:
    """Count what is there, what is not and what is wrong; put what is not."""
    found = {"right": 0, "missing": 0, "wrong": 0}
    for number in range(first, first + count):
        key, values = made(number)
        kept = cache.get(key)
        if kept is None:
            cache.put(key, values)
        found["missing" if kept is None else "right" if np.array_equal(kept, values) else "wrong"] += 1
    return found


def in_a_fork(cache: FeatureCache, key: bytes) -> list[bool | str | None]:
    """Return what a forked child gets of a key, and its trouble."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        said = json.dumps([cache.get(key) is not None, cache.stats().trouble])
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        got: list[bool | str | None] = json.loads(pipe.read())
    os.wait()
    return got


def main() -> None:
    """Do what the command line says."""
    folder, first, count, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    cache = FeatureCache(0, folder, limit)
    found = [ask(cache, first, count)]
    forked = in_a_fork(cache, made(first)[0]) if sys.argv[5:] else None
    found.append(ask(cache, first, count))
    stats = cache.stats()
    cache.close()
    print(json.dumps({"found": found, "stats": asdict(stats), "forked": forked}))


if __name__ == "__main__":
    main()
