"""Halves that run in this process: torch in a low precision on a GPU, and what torch compiles, is held against float32 once.

What a check found is kept beside the engines, as theirs is; in memory where that folder cannot be written.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import cast

from torch import nn

from crossgeo.engine.runtime.backends import InProcess, backend
from crossgeo.engine.runtime.batched import Call
from crossgeo.engine.runtime.check import Check, Expected
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.engine.runtime.store import EngineStore, Key, Record, refusal
from crossgeo.errors import GeoError, InputError

_seen: dict[str, Check] = {}  # by the key's digest: what could not be kept


@dataclass(frozen=True)
class Running:
    """A call, and what it runs on."""

    call: Call
    label: str


@dataclass(frozen=True)
class _Before:
    """What is taken of a half before any module is touched: halves of one network share their weights."""

    found: Check | None  # by an earlier check
    expected: Expected | None  # what a check goes by
    plain: nn.Module | None  # in float32


@dataclass(frozen=True)
class Place:
    """Where halves run, how they are checked, and who is told."""

    device: str
    store: EngineStore
    largest: Callable[[Half], int]  # batch
    pictures: Callable[[], Pixels] | None
    strict: bool  # True: what is refused is an error; else float32 takes its place
    say: Callable[[str], None]
    ground: str = "imagery"  # what the pictures show


def is_checked(name: str, precision: str, device: str) -> bool:
    """Say whether a back end of this process is held against torch in float32: all but torch itself where it is the definition."""
    return name != "torch" or (precision != "fp32" and device.startswith("cuda"))


def run_here(halves: Sequence[Half], keys: Sequence[Key], place: Place) -> list[Running]:
    """Return what runs each half, checked where that is called for; the weights are cast in place.

    Raises EngineError, with the figures, for one that does not answer as torch does in float32.
    """
    pictures = None if place.pictures is None else cache(place.pictures)
    before = [_before(half, key, replace(place, pictures=pictures)) for half, key in zip(halves, keys, strict=True)]
    return [_running(half, key, taken, place) for half, key, taken in zip(halves, keys, before, strict=True)]


def _before(half: Half, key: Key, place: Place) -> _Before:
    unchecked = _Before(None, None, None)
    if not is_checked(key.backend, key.precision, place.device):
        return unchecked
    record = place.store.find(key, lambda line: place.say(f"{line}; it is checked again"))
    found = _seen.get(key.digest) if record is None else Check(record.figures, record.refused)
    if found is not None:
        return _Before(found, None, copy.deepcopy(half.module) if found.problems else None)
    if place.pictures is None:
        return unchecked
    try:
        pictures = place.pictures()
    except InputError as error:  # too little ground to check by
        if key.backend != "torch":
            raise
        place.say(f"{half.title}: {key.precision} is not checked: {error}")
        return unchecked
    plain = copy.deepcopy(half.module)
    return _Before(None, Expected.of(half, pictures, place.device), plain)


def _running(half: Half, key: Key, before: _Before, place: Place) -> Running:
    found = before.found
    if found is None or not found.problems:
        call = _load(key.backend, half.module, key.precision, place.device)
        if before.expected is not None:
            found = before.expected.judge(call, place.largest(half))
            _keep(found, half, key, place)
        if found is None or not found.problems:
            return Running(call, f"{key.backend} {key.precision} on {place.device}")
    refused = refusal(Record(key, half.title, "", {}, found.figures, found.problems, "", 0))
    if place.strict or before.plain is None:
        raise refused
    place.say(f"{refused}; going on with torch in fp32")
    return Running(_load("torch", before.plain, "fp32", place.device), f"torch fp32 on {place.device}")


def _keep(found: Check, half: Half, key: Key, place: Place) -> None:
    _seen[key.digest] = found
    try:
        place.store.make(key, half.title, lambda folder: (found.figures, found.problems), place.say, place.ground)
    except GeoError as error:  # the disk's
        place.say(f"{half.title}: what its check found is not kept: {error}")


def _load(name: str, module: nn.Module, precision: str, device: str) -> Call:
    return cast(InProcess, backend(name)).load(module, precision, device)
