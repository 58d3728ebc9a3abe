"""University-1652 (Zheng et al. 2020): buildings, each with one satellite picture and many drone, street or web photos."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from crossgeo.errors import InputError
from crossgeo.training.datasets.paths import pictures_in
from crossgeo.training.pairs import Aerial, Pair, PairSet

View = Literal["drone", "street", "google"]
LAYOUTS: Mapping[View, str] = {"drone": "university1652", "street": "university1652-street", "google": "university1652-google"}
# (split, folder of photos, folder of satellite pictures): a folder each building in both
_FOLDERS: Mapping[View, tuple[tuple[str, str, str], ...]] = {
    "drone": (("train", "train/drone", "train/satellite"), ("test", "test/query_drone", "test/gallery_satellite")),
    "street": (("train", "train/street", "train/satellite"), ("test", "test/query_street", "test/gallery_satellite")),
    "google": (("train", "train/google", "train/satellite"),),
}


def read_university1652(root: Path, view: View = "drone") -> PairSet:
    """Read the pairs of one kind of photo; `Pair.place` is the building. Gallery pictures of buildings without a photo are distractors.

    The set says nothing of headings, fields of view or positions. Photos of a building without a satellite picture are left out and named.
    Raises InputError for a missing folder, or when no pair is left.
    """
    pairs: list[Pair] = []
    rest: list[Aerial] = []
    left_out: list[tuple[str, str]] = []
    for split, photo_folder, aerial_folder in _FOLDERS[view]:
        photos, aerials = root / photo_folder, root / aerial_folder
        if not photos.is_dir() or not aerials.is_dir():
            raise InputError(f"{root}: no {photo_folder}/ or no {aerial_folder}/; is this the University-1652 folder?")
        buildings = {folder.name: folder for folder in sorted(photos.iterdir()) if folder.is_dir()}
        pictures = {folder.name: pictures_in(folder) for folder in sorted(aerials.iterdir()) if folder.is_dir()}
        for building, folder in buildings.items():
            if not pictures.get(building):
                left_out += [
                    (f"{photo_folder}/{building}/{p.name}", f"no picture in {aerial_folder}/{building}") for p in pictures_in(folder)
                ]
                continue
            aerial = pictures[building][0]
            pairs += [Pair(f"{building}/{p.stem}", p, aerial, split, None, None, place=building) for p in pictures_in(folder)]
        rest += [Aerial(found[0].stem, found[0], split, place=name) for name, found in pictures.items() if found and name not in buildings]
    if not pairs:
        raise InputError(f"{root}: no {view} photo with a satellite picture; get University-1652 again")
    return PairSet(f"University-1652 {view}", LAYOUTS[view], root, tuple(pairs), tuple(rest), tuple(left_out))
