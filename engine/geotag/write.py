"""Answers written beside photos or into them, and taken out again; whole or not at all, and never over another's position unasked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from crossgeo import disk
from crossgeo.engine.exif import read_exif
from crossgeo.engine.geotag import inplace, sidecar, xmp
from crossgeo.engine.geotag.facts import Facts, facts_of
from crossgeo.engine.photo import FORMATS
from crossgeo.errors import InputError

How = Literal["sidecar", "inplace"]
State = Literal["written", "same", "kept", "unsure", "failed"]
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError)


HAS_ONE, HAS_ONE_BESIDE = "not written: it has a position already", "not written: its sidecar has a position already"


@dataclass(frozen=True)
class ExifOptions:
    """How answers are written."""

    how: How = "sidecar"
    unsure: bool = False  # also those that are not `located`
    overwrite: bool = False  # also where the photo tells a position already


@dataclass(frozen=True)
class Written:
    """What became of one answer: written; the same stands there; the photo's own position was kept; it is not to be believed."""

    path: Path  # of the photo
    state: State
    target: Path | None = None  # what was written, or would have been
    reason: str | None = None  # in words for people, where it was not written


def sidecar_of(photo: Path) -> Path:
    """Return the sidecar's path: `photo.jpg.xmp`, as darktable and digiKam name it; two photos of one stem do not share it."""
    return photo.with_name(f"{photo.name}.xmp")


def write_exif(path: Path, record: dict[str, Any], options: ExifOptions | None = None) -> Written:
    """Write a record (an answer's JSON) beside its photo or into it.

    Raises InputError, the photo untouched, where it is damaged, no JPEG that is to be written into, or holds what a change would harm;
    LimitError for a full disk. An answer of ours that stands there is replaced by a newer one; anything else only with `overwrite`.
    """
    options = options or ExifOptions()
    facts = facts_of(record, options.unsure)
    if facts is None:
        words = str(record["error"]["message"]) if "error" in record else f"not written: the answer is {record['status']}"
        return Written(path, "unsure", reason=words)
    if options.how == "inplace":
        return _write(path, path, facts, options, _into_photo)
    return _write(path, sidecar_of(path), facts, options, _beside)


def undo_exif(path: Path) -> list[Path]:
    """Take out what was written into a photo and beside it, and return what was changed: the photo, the sidecar, or nothing.

    Raises InputError, leaving the file as it is, where another program has changed it since and the old bytes cannot be had.
    """
    changed = []
    beside = sidecar_of(path)
    # Both are looked at before any is changed.
    taken = [(target, _restored(target, how)) for target, how in ((path, inplace.without_place), (beside, sidecar.without_place))]
    if all(seen is None for _, (seen, _) in taken):
        raise InputError(f"{path}: no such file")
    for target, (seen, old) in taken:
        if seen is None or old is None:
            continue
        if target == beside and not old:
            with disk.guarded(target):
                disk.unlink(target)
                disk.sync(target.parent)
        else:
            _replace(target, seen, old)
        changed.append(target)
    return changed


def _restored(target: Path, how: Callable[[bytes], bytes | None]) -> tuple[bytes | None, bytes | None]:
    """A file's bytes, None where there is no file, and what they were before a place was written, None where none was."""
    if not target.is_file():
        return None, None
    seen = _read(target)
    if how is inplace.without_place and seen[:2] != b"\xff\xd8":
        return seen, None
    try:
        return seen, how(seen)
    except ValueError as error:
        raise InputError(f"{target}: {error}, so it cannot be restored as it was; it was left as it is") from error


def _write(photo: Path, target: Path, facts: Facts, options: ExifOptions, make: Callable[..., bytes | str]) -> Written:
    if not photo.is_file():
        raise InputError(f"{photo}: no such file")
    target = target.resolve()  # what a link leads to is replaced, not the link
    seen = _read(target) if target.is_file() else None
    try:
        made = make(photo, seen, facts, options.overwrite)
    except ValueError as error:
        raise InputError(f"{target}: {error}; it was left as it is") from error
    if isinstance(made, str):
        return Written(photo, "kept", target, made)
    if made == seen:
        return Written(photo, "same", target)
    _replace(target, seen, made)
    return Written(photo, "written", target)


def _into_photo(_photo: Path, seen: bytes | None, facts: Facts, overwrite: bool) -> bytes | str:
    """The photo with the place, or why its own position is kept."""
    assert seen is not None
    taken = inplace.Taken.apart(_before(seen, inplace.without_place))
    if taken.has_position() and not overwrite:
        return HAS_ONE
    return inplace.with_place(taken, facts)


def _beside(photo: Path, seen: bytes | None, facts: Facts, overwrite: bool) -> bytes | str:
    """The sidecar with the place, or why the photo's own position, or another's in the sidecar, is kept."""
    before = None if seen is None else _before(seen, sidecar.without_place) or None
    if not overwrite:
        if before is not None and xmp.has_position(before):
            return HAS_ONE_BESIDE
        if _tells_position(photo):
            return HAS_ONE
    return sidecar.with_place(before, facts)


def _before(seen: bytes, without: Callable[[bytes], bytes | None]) -> bytes:
    """The bytes before an answer of ours was written; as they are where none was, or where others have changed them since."""
    try:
        old = without(seen)
    except ValueError:
        return seen
    return seen if old is None else old


def _tells_position(photo: Path) -> bool:
    """Whether a photo of any format that we read tells its position; an answer of ours in it is not its own."""
    data = _read(photo)
    try:
        return inplace.Taken.apart(_before(data, inplace.without_place)).has_position()
    except ValueError:  # another format, or a JPEG that is not to be written into, which a sidecar does not
        pass
    try:
        with Image.open(photo, formats=FORMATS) as image:
            exif = read_exif(image, image.width, image.height)
            packet = image.info.get("xmp") or b""
    except _DAMAGED as error:
        raise InputError(f"{photo}: it is no image that we read, or damaged; no sidecar was written") from error
    told = packet.encode() if isinstance(packet, str) else packet
    return exif.lat is not None or b"GPSLatitude" in told


def _read(path: Path) -> bytes:
    try:
        return disk.read(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _replace(target: Path, seen: bytes | None, data: bytes) -> None:
    """Put bytes in a file's place in one step, with its permissions and times; not where it has changed since it was read."""
    with disk.replacing(target) as temporary:
        temporary.write_bytes(data)
        if seen is None:
            return
        shutil.copystat(target, temporary)
        owner = target.stat()
        with suppress(OSError):  # only root may give files away
            os.chown(temporary, owner.st_uid, owner.st_gid)
        if _read(target) != seen:
            raise InputError(f"{target}: another program changed it just now; run the same command again")
