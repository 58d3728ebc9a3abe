"""The whole engine's answers in metres: photos whose places are known, through GeoSearch, their headings given, hidden or shifted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crossgeo.engine.evaluate import Truth, compare
from crossgeo.engine.photo import Photo
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import InputError
from crossgeo.training.evaluation.controls import random_directions, random_turns
from crossgeo.training.evaluation.places import WITHIN_M, Answered
from crossgeo.training.evaluation.questions import Progress
from crossgeo.training.evaluation.shots import WHOLE_DEG, take_shot, through_lens

TOP = 5
WIDEST_CUT_LENS_DEG = 120.0
LENS_STEP_DEG = 20  # groups of photos through a lens: 30 to 49 degrees, 50 to 69, ...


@dataclass(frozen=True)
class PlacedPhoto:
    """A photo with its true place; headings clockwise from true north."""

    photo: Path
    lat: float
    lon: float
    heading_deg: float | None
    fov_deg: float | None


def read_truth(path: Path) -> list[PlacedPhoto]:
    """Read photos with their places from a town's `truth.geojson` (docs/formats.md); photos lie beside it or in `photos/`.

    Raises InputError for a file that is none, one without photos, and a photo that is missing, naming it.
    """
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        facts = [feature["properties"] for feature in features]
        rows = [(str(f["file"]), float(f["lat"]), float(f["lon"]), f.get("heading_deg"), f.get("hfov_deg")) for f in facts]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a truth.geojson of photos ({type(error).__name__}: {error}); each needs file, lat and lon"
        ) from error
    if not rows:
        raise InputError(f"{path}: holds no photos; there is nothing to evaluate")
    return [
        PlacedPhoto(_found(path, name), lat, lon, None if turn is None else float(turn), None if fov is None else float(fov))
        for name, lat, lon, turn, fov in rows
    ]


def by_fov(truths: Sequence[PlacedPhoto]) -> dict[float, list[PlacedPhoto]]:
    """Group photos by their own field of view, widest first; 0 stands for unknown.

    Panoramas go by whole degrees, photos through a lens by `LENS_STEP_DEG`, under the middle one of the fields of view of their group:
    every camera has one of its own, and a single photo is no figure.
    """
    groups: dict[tuple[bool, int], list[PlacedPhoto]] = {}
    for truth in truths:
        own_deg = round(truth.fov_deg or 0.0)
        lens = 0 < own_deg < WIDEST_CUT_LENS_DEG
        groups.setdefault((lens, (own_deg + LENS_STEP_DEG // 2) // LENS_STEP_DEG if lens else own_deg), []).append(truth)
    named = {float(sorted(round(one.fov_deg or 0.0) for one in group)[len(group) // 2]): group for group in groups.values()}
    return {fov: named[fov] for fov in sorted(named, reverse=True)}


@dataclass(frozen=True)
class EngineAnswers:
    """Fills cells (`places.Answers`) by asking the engine.

    Panoramas are cut to the cell's field of view, seen through a lens up to 120 degrees; other photos are asked about as they are.
    """

    search: GeoSearch
    progress: Progress
    seed: int = 0
    shifted: bool = False  # headings that are given are shifted at random: a control

    def __call__(self, truths: Sequence[PlacedPhoto], fov_deg: float, heading_known: bool) -> list[Answered]:
        """Ask about each photo: what its EXIF says of heading is hidden, and the true one given or not."""
        turns, directions = random_turns(len(truths), self.seed), random_directions(len(truths), self.seed)
        out = []
        for number, truth in enumerate(truths):
            self.progress("locating photos", number, len(truths))
            photo, turned_deg = cut_photo(Photo.read(truth.photo), truth.fov_deg, fov_deg, float(directions[number]))
            middle_deg = None if truth.heading_deg is None else (truth.heading_deg + turned_deg) % 360.0
            given = None
            if heading_known and middle_deg is not None:
                given = (middle_deg + (float(turns[number]) if self.shifted else 0.0)) % 360.0
            answer = self.search.query(photo, top=TOP, heading_deg=given)
            row = compare(answer, Truth(truth.photo, truth.lat, truth.lon, middle_deg))
            tied = row.margin is not None and row.margin <= 0.0
            error = None if given is not None else row.heading_error_deg
            out.append(Answered(truth.photo.name, None if tied else row.metres, error, status=row.status))
        self.progress("locating photos", len(truths), len(truths))
        return out


def cut_photo(photo: Photo, own_deg: float | None, fov_deg: float, towards_deg: float) -> tuple[Photo, float]:
    """Return a photo whose EXIF says nothing of heading, a whole panorama cut to a field of view, and how far its middle was turned."""
    bare = replace(photo, exif=replace(photo.exif, heading_deg=None, heading_is_magnetic=False))
    if own_deg is None or own_deg <= WHOLE_DEG or fov_deg >= own_deg:
        return bare, 0.0
    if fov_deg <= WIDEST_CUT_LENS_DEG:
        pixels = through_lens(photo.pixels, fov_deg, towards_deg, photo.exif.horizon)
        exif = replace(bare.exif, fov_deg=fov_deg, panorama_deg=None, horizon=0.5)
    else:
        pixels = take_shot(photo.pixels, own_deg, fov_deg, towards_deg).pixels
        exif = replace(bare.exif, fov_deg=None, panorama_deg=fov_deg)
    return Photo.from_pixels(np.ascontiguousarray(pixels), photo.name, exif), towards_deg


def chance_places(search: GeoSearch, truths: Sequence[PlacedPhoto]) -> dict[str, float]:
    """Return the share of the index's tiles whose middles lie within 1, 5, 25 and 50 m of the truth: a random tile's chance."""
    tiles = len(search.index)
    return {
        f"within_{limit:g}_m": float(np.mean([len(search.index.ids_near(t.lat, t.lon, limit)) / max(tiles, 1) for t in truths]))
        for limit in WITHIN_M
    }


def _found(truth: Path, name: str) -> Path:
    for path in (truth.parent / "photos" / name, truth.parent / name):
        if path.is_file():
            return path
    raise InputError(f"{truth.parent / 'photos' / name} is not there, and {truth} says where it was taken; get the photos again")
