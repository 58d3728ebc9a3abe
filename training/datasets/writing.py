"""What the writers share: pictures, and records held against each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossgeo.errors import InputError
from crossgeo.training.datasets.records import ObjectRecord, PanoramaRecord
from crossgeo.training.pairs import Size

JPEG_QUALITY = 92
_NAME = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_-]*")


def save(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) RGB as JPEG or, to a name in .png, as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=JPEG_QUALITY)  # which PNG does not heed


class Kept:
    """What a writer has taken so far: the next record must fit it."""

    def __init__(self, layout: str, splits: Sequence[str]) -> None:
        self.layout = layout
        self.splits = splits
        self._ids: set[str] = set()
        self._aerials: dict[str, bytes] = {}
        self._shared: tuple[Size, Size, Any] | None = None

    def add(self, row: PanoramaRecord | ObjectRecord, photo: NDArray[np.uint8], facts: Any = None) -> None:
        """Take a record; raise InputError for its id, its split, or where sizes or `facts` differ from those before."""
        if not _NAME.fullmatch(row.id) or row.id in self._ids:
            raise InputError(f"{row.id!r}: an id comes once and holds letters, digits, - and _; name the record otherwise")
        if row.split not in self.splits:
            raise InputError(f"{row.id}: {self.layout} has no split {row.split!r}, only {', '.join(self.splits)}")
        shared = (photo.shape[1], photo.shape[0]), (row.aerial.shape[1], row.aerial.shape[0]), facts
        if self._shared is not None and shared != self._shared:
            raise InputError(f"{row.id}: photo, aerial and ground are {shared}, those before it {self._shared}; a data set has one of each")
        self._ids.add(row.id)
        self._shared = shared

    def is_new(self, name: str, aerial: NDArray[np.uint8]) -> bool:
        """Say whether an aerial has yet to be written: several objects may share one. Raise InputError for two under one name."""
        content = hashlib.blake2b(aerial.tobytes(), digest_size=16).digest()
        known = self._aerials.get(name)
        if known is not None and known != content:
            raise InputError(f"{name}: two different aerials would bear this name; move one")
        self._aerials[name] = content
        return known is None

    @property
    def shared(self) -> tuple[Size, Size, Any]:
        """Return the size of all photos, of all aerials, and the facts; raise InputError where there was no record."""
        if self._shared is None:
            raise InputError(f"no records to write as {self.layout}; the source is empty")
        return self._shared
