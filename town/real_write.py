"""Writing street photos over real ground: ortho.tif, panoramas/, street/, their truth and town.json (docs/formats.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from crossgeo.errors import UsageError
from crossgeo.indexer.files import new_folder
from crossgeo.town.layout import Town
from crossgeo.town.real import LatLonBox, make_real_town
from crossgeo.town.street_write import write_street
from crossgeo.town.truth import write_json
from crossgeo.town.write import write_ortho


def write_real_town(
    out: Path,
    ortho: Sequence[Path],
    footprints: Path,
    bounds: LatLonBox | None = None,
    seed: int = 1,
    panoramas: int = 8,
    street: int = 8,
    objects_per_photo: int = 4,
    plain: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Town:
    """Raise a town over an orthophoto and footprints and write it with street photos to a new folder, which appears only once it is whole.

    The arguments are those of `make_real_town` and `write_street`; progress: called with photos done and in all. `ortho.tif` is the
    orthophoto as it is, within the bounds. Raises UsageError for counts below 0, and what those two raise.
    """
    if min(panoramas, street, objects_per_photo) < 0:
        raise UsageError("the number of photos and of objects in each cannot be below 0")
    total = panoramas + street
    with new_folder(Path(out), "town") as folder:
        town = make_real_town(ortho, footprints, bounds, seed)
        gsd_m = town.layers.gsd_m
        write_ortho(folder / "ortho.tif", town, town.layers.ground_albedo, gsd_m)
        ground_m = float(np.round(np.random.default_rng([seed, 5152]).uniform(2.0, 900.0), 1))
        count = (lambda done: progress(done, total)) if progress is not None else None
        write_street(folder, town, panoramas, street, objects_per_photo, ground_m, gsd_m, plain, count)
        about = {
            "seed": seed, "size_m": town.size_m, "gsd_m": gsd_m, "style": town.style, "crs": f"EPSG:{town.crs.to_epsg()}",
            "origin_xy": list(town.origin_xy), "ground_m": ground_m, "simulated": True, "real_ground": True, "photos": 0,
            "panoramas": panoramas, "street": street, "objects": {"building": len(town.objects)},
        }  # fmt: skip
        write_json(folder / "town.json", about)
    return town
