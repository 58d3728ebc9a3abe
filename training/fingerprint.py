"""Short hashes of what a run is trained on, so that a run that is resumed is not trained on something else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from crossgeo.training.grounds import Ground
from crossgeo.training.pairs import ObjectPair, Pair

_STEP_PX = 16  # of a ground's pixels every so many-th is looked at, along both axes


def pairs_fingerprint(pairs: Sequence[Pair] | Sequence[ObjectPair]) -> str:
    """Hash all that pairs say with the names and sizes of their pictures; where these lie does not matter."""
    digest = hashlib.sha256()
    sizes: dict[Path, int] = {}
    for pair in pairs:
        said: dict[str, object] = dict(vars(pair))
        pictures = [pair.photo, pair.aerial, *(pair.imagery if isinstance(pair, Pair) else ())]
        for path in pictures:
            if path not in sizes:
                sizes[path] = path.stat().st_size if path.is_file() else 0  # imagery may be a folder
        said |= {"photo": None, "aerial": None, "imagery": [(path.name, sizes[path]) for path in pictures]}
        digest.update(repr(said).encode())
    return f"{len(pairs)} pairs, {digest.hexdigest()[:12]}"


def grounds_fingerprint(grounds: Iterable[Ground]) -> str:
    """Hash grounds: their pixels (a sample), which part may be used, and the outlines on them."""
    digest = hashlib.sha256()
    names = []
    for ground in grounds:
        names.append(ground.name)
        digest.update(repr((ground.name, ground.gsd_m, ground.real, [scene.shape for scene in ground.scenes])).encode())
        for scene in ground.scenes:
            digest.update(scene[::_STEP_PX, ::_STEP_PX].tobytes())
        digest.update(np.packbits(ground.usable).tobytes())
        for outline in ground.outlines:
            digest.update(outline.tobytes())
    return f"{len(names)} grounds, {digest.hexdigest()[:12]}"
