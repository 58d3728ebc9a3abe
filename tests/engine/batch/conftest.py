"""A folder of photos of the patchwork, and one process that reads them for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crossgeo.engine.decoder import Decoder

X, Y = 363_147.0, 3_057_452.0


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    """One process that reads photos."""
    with Decoder() as opened:
        yield opened


@pytest.fixture(scope="session")
def take(ground: Any) -> Callable[[Path, int], Path]:
    """Return a function that takes the n-th of any number of photos and writes it."""

    def write(path: Path, number: int) -> Path:
        Image.fromarray(ground.photo(X + 20.0 * number, Y, 40.0 * number, 95.0).pixels).save(path)
        return path

    return write


@pytest.fixture
def folder(tmp_path: Path, take: Callable[[Path, int], Path]) -> Path:
    """Four good photos, one of them in a subfolder, one cut short, and what is no photo."""
    photos = tmp_path / "photos"
    (photos / "late").mkdir(parents=True)
    for number, name in enumerate(("b.png", "a.png", "late/c.png", "d.png")):
        take(photos / name, number)
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:2000])
    (photos / "notes.txt").write_text("no photo")
    return photos
