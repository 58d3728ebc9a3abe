"""What smoothing makes of simulated drives: places, statuses and merged objects before and after, in benchmarks/results/sequences.json.

python benchmarks/sequences.py [--town 9033] [--photos 40] [--work DIR]
Rivals are those of the small street preset; the heading is unknown to it. Photos, index and answers are kept in DIR.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import record
from drives import EVERY, SPEED_M_S, Json, answered, drawn
from shapely import geometry
from street_towns import HeldOutTown

from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.sequences import SequenceOptions, merge_objects, smooth
from crossgeo.geodesy import distance_m
from crossgeo.training.evaluation.statistics import share

SIZE_M, TOP = 800.0, 8
WRONG_M = 25.0


def measured(records: Sequence[Json], truths: Sequence[Json]) -> Json:
    """Return how many best places lie within metres of the camera, and how many of those called `located` do not."""
    pairs = list(zip(records, truths, strict=True))
    metres = np.array([distance_m(row["places"][0]["lat"], row["places"][0]["lon"], true["lat"], true["lon"]) for row, true in pairs])
    located = np.array([row["status"] == "located" for row in records])
    return {
        **{f"within_{m}_m": share(metres <= m).to_json() for m in (5, 25)},
        "located": int(located.sum()),
        "located_beyond_25_m": int((located & (metres > WRONG_M)).sum()),
        "right_but_not_located": int((~located & (metres <= WRONG_M)).sum()),
    }


def objects(records: Sequence[Json], truths: Sequence[Json]) -> Json:
    """Return what merging makes of the boxes: how many objects, how many of them are the right one, and what was really clicked."""
    true_of = {row["photo"]: true["object"] for row, true in zip(records, truths, strict=True)}
    boxes = [row["photo"] for row in records if row["status"] == "located" and row["object"]]
    found = merge_objects(records)
    pure, right, ray_errors = 0, 0, []
    several = [thing for thing in found if len(thing["photos"]) > 1]
    for thing in found:
        names = {true_of[photo]["object"] for photo in thing["photos"]}
        true = true_of[thing["photos"][0]]
        box, seen = geometry.shape(true["box"]), geometry.shape(thing["polygon"])
        right += box.intersection(seen).area / box.union(seen).area >= 0.25
        pure += len(thing["photos"]) > 1 and len(names) == 1
        if len(thing["photos"]) > 1 and thing["rays"]:
            ray_errors.append(round(distance_m(thing["rays"]["lat"], thing["rays"]["lon"], true["lat"], true["lon"]), 2))
    return {
        "boxes": len(boxes),
        "clicked_objects": len({true_of[photo]["object"] for photo in boxes}),
        "merged_objects": len(found),
        "iou_0.25": right,
        "of_several_photos": len(several),
        "of_one_true_object": pure,
        "rays_off_m": sorted(ray_errors),
    }


def main() -> None:
    """Take the drives, ask about them, smooth, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--town", type=int, default=9033)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--work", type=Path, default=Path("work/drives"))
    options = parser.parse_args()
    home = HeldOutTown(options.town, SIZE_M, options.work)
    lenses = ("90", "360")
    for lens in lenses:
        drawn(home, lens, options.photos)
    home.__dict__.pop("world", None)  # a gigabyte that nobody looks at any more
    index = home.index(EgoTRDescriber.load())
    cases: dict[str, Any] = {}
    with GeoSearch.open(index) as search:
        model, tiles = search.models["street"]["name"], len(search.index)
        for lens in lenses:
            rows = answered(home, search, lens, options.photos, TOP)
            records, truths = [row["record"] for row in rows], [row["truth"] for row in rows]
            after = smooth(records)
            near = [
                min(distance_m(p["lat"], p["lon"], true["lat"], true["lon"]) for p in row["places"]) <= WRONG_M
                for row, true in zip(records, truths, strict=True)
            ]
            cases[lens] = {
                "photos": len(records),
                "drives": len({true["group"] for true in truths}),
                "right_place_among_rivals": sum(near),
                "changed": sum(row["sequence"]["changed"] for row in after),
                "before": measured(records, truths) | {"objects": objects(records, truths)},
                "after": measured(after, truths) | {"objects": objects(after, truths)},
            }
    about = {
        "simulated": True,
        "town": {"seed": options.town, "size_m": SIZE_M, "tiles": tiles},
        "model": model,
        "asked": f"a photo every {5 * EVERY} m at {SPEED_M_S:g} m/s, heading unknown, {TOP} rivals; the settings were set beforehand "
        "but for none_nats, begin_nats (-3 and -6 at first) and most_stray_m, which were chosen on the first 36 photos of the narrow lens",
        "settings": SequenceOptions().__dict__,
    }
    record("sequences", {**about, "by_field_of_view": cases})


if __name__ == "__main__":
    main()
