"""Looking at a data set before hours of training are spent on it: it is not empty, and every picture is there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossgeo.errors import InputError
from crossgeo.training.pairs import ObjectPair, Pair

LEAST_PAIRS = 2  # that one can be told from another


def check_pictures(pairs: Sequence[Pair] | Sequence[ObjectPair]) -> None:
    """Raise InputError for an empty set and for pictures that are not there, naming the first."""
    if not pairs:
        raise InputError("there are no pairs to train on; choose another split or folder")
    missing = [(pair.id, path) for pair in pairs for path in (pair.photo, pair.aerial) if not path.exists()]
    if missing:
        more = f", nor are {len(missing) - 1} other pictures" if len(missing) > 1 else ""
        raise InputError(
            f"{missing[0][1]} of pair {missing[0][0]} is not there{more}; get the data again, or check it with `geo data check`"
        )


def check_placed(usable: int, given: int) -> None:
    """Raise InputError where too few photos can be placed."""
    if given and usable < LEAST_PAIRS:
        raise InputError(f"{usable} of {given} photos say where they looked, and {LEAST_PAIRS} are needed to tell any apart")


def in_parts(rows: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """Split (n,) rows into parts of at most `most`, as even as can be: no part is one row alone, which might be unreadable."""
    return np.array_split(rows, max(1, -(-len(rows) // most)))
