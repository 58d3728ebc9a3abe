"""A user's own city: geotagged photos and imagery become pairs, whole streets are held out, and answers there are counted in metres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crossgeo.engine.levelling import level_of
from crossgeo.errors import GeoError, InputError
from crossgeo.models.egotr import EgoTRBranch
from crossgeo.models.street import DEFAULT_STREET_FOV_DEG, WIDEST_LENS_DEG
from crossgeo.training.datasets.folder import HEADLESS, MAGNETIC, read_folder
from crossgeo.training.datasets.pictures import Pictures
from crossgeo.training.egotr import EgoTRTraining
from crossgeo.training.evaluation.retrieval import nearest
from crossgeo.training.evaluation.statistics import Figure, median, share
from crossgeo.training.pair_input import PairInput
from crossgeo.training.pair_sampling import PairSampling, PairSource
from crossgeo.training.pairs import Pair, PairSet
from crossgeo.training.splits import deduplicate, hold_out_groups, places_of, renamed
from crossgeo.training.streets import streets_of

TRAIN, HELD_OUT = "train", "held-out"
STRIDE_M = 15.0  # of the grid of tiles that held-out photos are looked for in, as an index has it
REACH_M = 60.0  # of that grid around photos
WITHIN_M = (5, 25, 50)
_BATCH = 32

# Fine-tuning: the aerial branch stays, so an index made with it stays good; the rates are those of the shipped street weights.
FINE_TUNING = EgoTRTraining(trained="ground", lr=4e-4, stem_lr=2e-4, frozen_blocks=3)
# A city's photos are few: each is shown in many lights, and as the part of it that a narrower lens would see.
SAMPLING = PairSampling(batch=32, near_share=0.5, limited_share=0.4, limited_deg=(55.0, 125.0), photo_change=0.8, turned=True, offset_m=5.0)
EPOCHS = 30.0


@dataclass(frozen=True)
class City:
    """Pairs of a city: those to train on and those held out, by streets; `left_out` says why other photos are neither."""

    train: PairSet
    held_out: PairSet
    left_out: tuple[tuple[str, str], ...]


def read_city(
    photos: Path,
    imagery: Sequence[Path],
    window_m: float,
    *,
    held_share: float = 0.25,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> City:
    """Pair photos with the imagery of their places and hold out up to `held_share` of them, by whole streets (`streets_of`).

    Photos whose ground overlaps held-out ground are left out, as are those that say no position or no heading against true north, that
    cannot be read or that come twice. progress: called with photos looked at and in all. Raises InputError when too few are left.
    """
    data = read_folder(photos, imagery, window_m)
    headless = tuple((pair.id, MAGNETIC if pair.magnetic_heading else HEADLESS) for pair in data if pair.heading_deg is None)
    data = replace(data, pairs=tuple(pair for pair in data if pair.heading_deg is not None), left_out=data.left_out + headless)
    if not len(data):
        raise InputError(
            f"{photos}: none of the photos says where it looked against true north (EXIF GPSImgDirection, GPSImgDirectionRef T), and "
            f"training needs that; the first, {headless[0][0]}: {headless[0][1]}"
        )
    data = levelled(deduplicate(data, progress=progress))
    xy = places_of(data)
    street_of = streets_of(xy)
    if street_of.max() == 0:
        raise InputError(f"{photos}: its {len(data)} photos are of one street, and whole streets are held out; give photos of more streets")
    split = renamed(data, hold_out_groups(xy, street_of, (TRAIN, HELD_OUT), held_share, window_m, seed))
    if TRAIN not in split.splits:
        raise InputError(
            f"{photos}: all {len(data)} photos lie within {window_m:g} m of the streets that are held out, which leaves none to train on; "
            "give photos of more streets, or another --seed"
        )
    return City(split.split(TRAIN), split.split(HELD_OUT), split.left_out)


def levelled(data: PairSet) -> PairSet:
    """Measure the tilt of every lens from the edges of what stands upright, as the engine does; panoramas are level already."""

    def own(pair: Pair, pictures: Pictures) -> Pair:
        fov_deg = DEFAULT_STREET_FOV_DEG if pair.fov_deg is None else pair.fov_deg
        if fov_deg > WIDEST_LENS_DEG:
            return pair
        level = level_of(pictures.photo(pair), fov_deg)
        return pair if level is None else replace(pair, tilt_deg=(level.pitch_deg, level.roll_deg))

    with Pictures() as pictures:
        return replace(data, pairs=tuple(own(pair, pictures) for pair in data))


def city_source(city: City, as_input: PairInput, batch: int | None, seed: int) -> PairSource:
    """Return the batches of a city's training photos."""
    return PairSource(city.train.pairs, as_input, replace(SAMPLING, batch=batch or SAMPLING.batch), seed)


def grid_figures(
    ground: EgoTRBranch,
    aerial: EgoTRBranch,
    as_input: PairInput,
    city: City,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Figure]:
    """Look for the held-out photos, headings known, among tiles on a 15 m grid around all photos; shares within metres and the median.

    `progress` is called with the stage, what is done and what there is.
    """
    say = progress or (lambda stage, done, total: None)
    tiles, centres = _grid(city, as_input, aerial, device, say)
    queries, offsets = [], []
    with Pictures() as pictures:
        for number, pair in enumerate(city.held_out):
            say("describing photos", number, len(city.held_out))
            canvas, mask, ahead = as_input.photo(pictures.photo(pair), pair)
            queries.append(_describe(ground, as_input.normalise(canvas[None], mask[None]), device))
            offsets.append(ahead)
    best = nearest(np.concatenate(queries), tiles)
    taken = centres[best.index] - np.array(offsets)  # where the camera stood, if its tile is right
    metres = np.linalg.norm(taken - np.array([pair.xy for pair in city.held_out]), axis=1)
    metres[best.tied] = np.inf  # a guess is no answer
    return {"median_m": median(metres)} | {f"within_{limit}_m": share(metres <= limit) for limit in WITHIN_M}


def _grid(
    city: City, as_input: PairInput, aerial: EgoTRBranch, device: str, say: Callable[[str, int, int], None]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return (N, D) descriptors of the grid's tiles that hold imagery, and their middles (N, 2) in metres."""
    pairs = [*city.train, *city.held_out]
    cells: dict[tuple[int, int], Pair] = {}
    reach = round(REACH_M / STRIDE_M)
    for pair in pairs:
        assert pair.xy is not None
        column, row = round(pair.xy[0] / STRIDE_M), round(pair.xy[1] / STRIDE_M)
        for cell in ((column + i, row + j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)):
            cells.setdefault(cell, pair)
    rows, middles, waiting = [], [], []
    with Pictures() as pictures:
        for number, ((column, row), near) in enumerate(cells.items()):
            say("describing tiles", number, len(cells))
            middle = (column * STRIDE_M, row * STRIDE_M)
            tile = replace(near, aerial_centre_xy=middle)
            try:
                waiting.append(as_input.aerial(pictures.aerial(tile), tile))
            except GeoError:  # no imagery there
                continue
            middles.append(middle)
            if len(waiting) == _BATCH:
                rows.append(_describe(aerial, as_input.normalise_tiles(np.stack(waiting)), device))
                waiting = []
    if waiting:
        rows.append(_describe(aerial, as_input.normalise_tiles(np.stack(waiting)), device))
    return np.concatenate(rows), np.array(middles)


@torch.inference_mode()
def _describe(branch: EgoTRBranch, images: torch.Tensor, device: str) -> NDArray[np.float32]:
    return np.asarray(branch(images.to(device)).float().cpu().numpy(), np.float32)
