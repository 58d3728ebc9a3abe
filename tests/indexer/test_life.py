"""Whatever is done to an index, in whatever order: it answers as a build of the imagery that is there in the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from crossgeo.indexer.add import AddOptions, add_to_index
from crossgeo.indexer.build import build_index
from crossgeo.indexer.compact import compact_index
from crossgeo.indexer.generations import roll_back
from crossgeo.indexer.manifest import read_manifest
from crossgeo.indexer.merge import merge_indexes
from crossgeo.indexer.remove import What, remove_from_index
from crossgeo.indexer.verify import verify_index

WEST_M, NORTH_M = 353400.0, 3058000.0
PLACES_PX = [(0, 0), (136, 24), (64, 120), (240, 0)]  # on JPEG's 8 px cells: not one pixel may differ
STEPS = ["add", "over", "remove", "compact", "back", "merge"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, write_raster: Callable[..., Path], paint: Any) -> list[Path]:
    """Pictures that overlap."""
    folder = tmp_path_factory.mktemp("pictures")
    return [
        write_raster(folder / f"{n}.tif", paint(160, 168, seed=n), affine=Affine(0.5, 0, WEST_M + x / 2, 0, -0.5, NORTH_M - y / 2))
        for n, (x, y) in enumerate(PLACES_PX)
    ]


@settings(max_examples=8, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 3)), min_size=3, max_size=6))
def test_any_life_ends_like_a_build_of_what_is_left(
    tmp_path_factory: pytest.TempPathFactory,
    pictures: list[Path], describe: Any, identity: Any, options: Any, same_answers: Any,
    steps: list[tuple[str, int]],
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("life")
    index = folder / "a.geo"
    build_index(pictures[:1], index, describe, identity, options)
    there, before = [0], None  # the pictures, the first over the others, and those of the generation before
    for number, (step, n) in enumerate(steps):
        if step in ("add", "over") and n not in there:
            add_to_index([pictures[n]], index, describe, identity, AddOptions(over=step == "over"))
            there, before = [n, *there] if step == "over" else [*there, n], there
        elif step == "remove" and n in there and len(there) > 1:
            # Compacting joins what lies beneath others to them: only what nobody hid comes back, so pictures go before they are joined.
            if len({s.layer for s in read_manifest(index).sources}) == len(there):
                remove_from_index(index, What(source=f"{n}.tif"), describe)
                there, before = [m for m in there if m != n], there
        elif step == "compact":
            compact_index(index)
            before = None
        elif step == "back" and before is not None:
            roll_back(index)
            there, before = before, None
        elif step == "merge" and n not in there:
            build_index([pictures[n]], folder / f"{number}.geo", describe, identity, options)
            merge_indexes([index, folder / f"{number}.geo"], folder / "m.geo", describe)
            shutil.rmtree(index)
            (folder / "m.geo").rename(index)
            there, before = [*there, n], None
    assert verify_index(index) == []
    build_index([pictures[n] for n in there], folder / "fresh.geo", describe, identity, options)
    same_answers(index, folder / "fresh.geo")
