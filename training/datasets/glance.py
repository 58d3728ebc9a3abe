"""Every picture of a data set seen once, small: its size and how it looks; and which pairs, by their looks, come twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossgeo.engine.photo import Photo
from crossgeo.errors import GeoError
from crossgeo.training.pairs import ObjectPair, ObjectSet, Pair, PairSet, Point, Size
from crossgeo.training.splits import find_duplicates, perceptual_hash

_LOOK_PX = 256  # decoded no larger where the format can: damage shows all the same
_WINDOW_LOOK = 0  # of every window: their places say whether two show the same ground
_SAME = 1.0  # places no farther apart in metres, and clicks in pixels, are one
_NOWHERE: Point = (float("nan"), float("nan"))
Either = Pair | ObjectPair


@dataclass(frozen=True, slots=True)
class Glance:
    """What a picture looks like."""

    size: Size
    look: int  # 64 bits, `splits.perceptual_hash`
    content: bytes  # a digest of the pixels


def glance(path: Path) -> Glance | str:
    """Read a picture; return what is wrong with it where that fails."""
    try:
        photo = Photo.read(path, long_px=_LOOK_PX)
    except GeoError as error:
        return str(error)
    content = hashlib.blake2b(photo.pixels.tobytes(), digest_size=16).digest()
    return Glance((photo.width_px, photo.height_px), perceptual_hash(photo.pixels), content)


def repeats(data: PairSet | ObjectSet, seen: Mapping[Path, Glance | str]) -> tuple[list[str], list[str]]:
    """Return a problem for each split that asks about photos of training, the same to the pixel, and a note of other pairs that come twice.

    Pairs are one by the looks of photo and aerial and, where these are known, by their places or clicks. One that is in two splits beside
    training under one id, as CVACT's validation is a part of its test, is no repeat.
    """
    pairs: list[Either] = []
    photos: list[Glance] = []
    aerial_looks: list[int] = []
    for pair in data.pairs:
        photo, aerial = seen[pair.photo], seen.get(pair.aerial)  # imagery that windows are cut from is not looked at
        if isinstance(photo, Glance) and not isinstance(aerial, str):
            pairs.append(pair)
            photos.append(photo)
            aerial_looks.append(_WINDOW_LOOK if aerial is None else aerial.look)
    spots = np.array([_spot(pair) for pair in pairs], np.float64).reshape(-1, 2)
    first = find_duplicates([photo.look for photo in photos], aerial_looks, spots, max_m=_SAME)
    asked: dict[str, list[tuple[Either, Either]]] = {}  # by split, with the pair of training
    alike: list[tuple[Either, Either]] = []
    for row, earlier in enumerate(first.tolist()):
        pair, other = pairs[row], pairs[earlier]
        if row == earlier or (pair.id == other.id and "train" not in (pair.split, other.split)):
            continue
        held, trained = (other, pair) if pair.split == "train" else (pair, other)
        if trained.split == "train" != held.split and photos[row].content == photos[earlier].content:
            asked.setdefault(held.split, []).append((held, trained))
        else:
            alike.append((pair, other))
    problems = [
        f"{data.name}: photos of {split} that are photos of train, too: {len(found)}; the first, {held.id}, is {trained.id} there"
        for split, found in asked.items()
        for held, trained in found[:1]
    ]
    return problems, [_note(data, alike)] if alike else []


def _note(data: PairSet | ObjectSet, alike: list[tuple[Either, Either]]) -> str:
    (pair, other), left_out = alike[0], ", which training leaves out" if data.layout == "folder" else ""
    return (
        f"{data.name}: pairs that look like an earlier one, photo and aerial{left_out}: {len(alike)}; "
        f"the first, {pair.id} of {pair.split}, looks like {other.id} of {other.split}"
    )


def _spot(pair: Either) -> Point:
    return pair.click_px if isinstance(pair, ObjectPair) else pair.xy or _NOWHERE
