"""training/fingerprint.py: what a run is trained on is known by what it says and shows, not by where it lies."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crossgeo.training.fingerprint import grounds_fingerprint, pairs_fingerprint
from crossgeo.training.grounds import Ground
from crossgeo.training.pairs import Pair


def make(folder: Path) -> list[Pair]:
    folder.mkdir()
    pairs = []
    for name in "abc":
        photo, aerial = folder / f"{name}.jpg", folder / f"{name}.png"
        photo.write_bytes(name.encode())
        aerial.write_bytes(b"aerial " + name.encode())
        pairs.append(Pair(name, photo, aerial, "train", 10.0, 360.0, (1.0, 2.0), "EPSG:32633"))
    return pairs


def test_pairs_that_are_moved_stay_the_same(tmp_path: Path) -> None:
    assert pairs_fingerprint(make(tmp_path / "here")) == pairs_fingerprint(make(tmp_path / "there"))


def test_another_pair_another_heading_or_another_picture_is_other_data(tmp_path: Path) -> None:
    pairs = make(tmp_path / "set")
    found = [pairs_fingerprint(pairs), pairs_fingerprint(pairs[:2]), pairs_fingerprint([replace(pairs[0], heading_deg=11.0), *pairs[1:]])]
    pairs[1].photo.write_bytes(b"a larger picture")
    found.append(pairs_fingerprint(pairs))
    assert len(set(found)) == 4
    assert found[0].startswith("3 pairs, ") and found[1].startswith("2 pairs, ")


def shown(ground: Ground) -> Ground:
    return replace(ground, scenes=tuple(255 - scene for scene in ground.scenes))


def held_out(ground: Ground) -> Ground:
    usable = ground.usable.copy()
    usable[0, 0] = False
    return replace(ground, usable=usable)


def moved(ground: Ground) -> Ground:
    return replace(ground, outlines=tuple(outline + np.float32(1.0) for outline in ground.outlines))


@pytest.mark.parametrize("changed", [shown, held_out, moved])
def test_other_pixels_other_held_out_ground_and_other_outlines_are_other_data(changed: Callable[[Ground], Ground], ground: Ground) -> None:
    assert grounds_fingerprint([ground]) == grounds_fingerprint([replace(ground)])
    assert grounds_fingerprint([ground]) != grounds_fingerprint([changed(ground)])
