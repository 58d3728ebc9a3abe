"""Edits of bytes, the way back, and its record: what a photo or a sidecar carries so that the writing can be undone exactly."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MOST_BYTES = 1 << 20  # of an unpacked record; a segment of 64 KB could claim gigabytes


@dataclass(frozen=True)
class Edit:
    """Bytes `start` to `stop` become `new`."""

    start: int
    stop: int
    new: bytes

    def moved(self, by: int) -> Edit:
        """Return the same edit of bytes that lie elsewhere."""
        return Edit(self.start + by, self.stop + by, self.new)


@dataclass(frozen=True)
class Back:
    """The way back to a file as it was: edits of the changed one, and what must then come out."""

    edits: tuple[Edit, ...]
    changed: str  # SHA-256 of the changed file
    sha256: str  # and of what it was

    def pack(self) -> bytes:
        """Return it as bytes."""
        spans = [[edit.start, edit.stop, base64.b64encode(edit.new).decode()] for edit in self.edits]
        # The checksums stand by themselves: so the length does not depend on what the changed file holds.
        return bytes.fromhex(self.changed + self.sha256) + zlib.compress(json.dumps(spans).encode(), 9)

    @classmethod
    def unpack(cls, packed: bytes) -> Back:
        """Read it again; raise ValueError for anything else."""
        try:
            opened = zlib.decompressobj()
            spans = json.loads(opened.decompress(packed[64:], _MOST_BYTES))
            edits = [Edit(int(start), int(stop), base64.b64decode(old, validate=True)) for start, stop, old in spans]
            return cls(tuple(edits), packed[:32].hex(), packed[32:64].hex())
        except (zlib.error, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("what would undo the writing is damaged") from error

    def restore(self, changed: bytes) -> bytes:
        """Return the file as it was; raise ValueError unless just that comes out."""
        if hashlib.sha256(changed).hexdigest() == self.changed:
            old = apply(changed, self.edits)
            if hashlib.sha256(old).hexdigest() == self.sha256:
                return old
        raise ValueError("it has been changed by another program since")


def apply(data: bytes, edits: Iterable[Edit]) -> bytes:
    """Return the bytes with all edits made; those at one place stand in the given order. Raise ValueError where two overlap."""
    pieces, at = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.stop)):
        if not at <= edit.start <= edit.stop <= len(data):
            raise ValueError("the edits do not fit the file")
        pieces += [data[at : edit.start], edit.new]
        at = edit.stop
    return b"".join([*pieces, data[at:]])


def way_back(data: bytes, edits: Sequence[Edit]) -> Back:
    """Return the way back to `data` from what the edits make of it."""
    shift, back = 0, []
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.stop)):
        start = edit.start + shift
        back.append(Edit(start, start + len(edit.new), data[edit.start : edit.stop]))
        shift += len(edit.new) - (edit.stop - edit.start)
    return Back(tuple(back), hashlib.sha256(apply(data, edits)).hexdigest(), hashlib.sha256(data).hexdigest())
