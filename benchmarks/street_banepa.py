"""The street weights on real ground, Banepa's orthophoto and OpenStreetMap buildings, before and after fine-tuning on its other half.

python benchmarks/street_banepa.py [--minutes 50] [--train-photos 1500] [--photos 300] [--engine-photos 30] [--work DIR] [--data DIR]
Photos south of the upper edge of `ground_truth.BANEPA_HELD_OUT`, less a margin, are asked about; those north of it are trained on.
The ground and the roofs are real, walls, trees, cars and light are simulated. The aerial branch stays as it is, so one index serves both.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from common import record
from ground_truth import BANEPA_HELD_OUT, CLEAR_M, data_folder

from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.evaluate import NEAR_M, Truth, evaluate
from crossgeo.engine.photo import Photo
from crossgeo.engine.search import GeoSearch
from crossgeo.geodesy import from_lat_lon, parse_crs
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.models.checkpoint import read_card, save_weights
from crossgeo.models.egotr import EgoTR
from crossgeo.town.real_write import write_real_town
from crossgeo.training.city import FINE_TUNING, City, city_source, grid_figures, levelled
from crossgeo.training.datasets.folder import read_folder
from crossgeo.training.egotr import train_egotr
from crossgeo.training.evaluation.statistics import share
from crossgeo.training.pair_input import PairInput
from crossgeo.training.pairs import Pair, PairSet
from crossgeo.training.starting import start_from

WEIGHTS = "egotr-s-street"
KINDS = ("panorama", "street")


def footprints(data: Path, out: Path) -> Path:
    """Write all known buildings as one file."""
    features = []
    for path in sorted((data / "oam_banepa" / "labelled" / "train" / "osm").glob("*.geojson")):
        features += json.loads(path.read_text())["features"]
    out.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return out


def taken(work: Path, data: Path, photos: int, part: Literal["train", "held-out"]) -> Path:
    """Return the folder of the photos rendered over the other half, or over all of the city; render them first unless it is there."""
    out = work / f"{part}-{photos}"
    if not out.exists():
        tiles = data / "oam_banepa" / "tiles_z19"
        west, _, east, line = BANEPA_HELD_OUT
        bounds = None if part == "held-out" else (west, line, east, line + 0.02)
        seed = 3 if part == "held-out" else 4
        write_real_town(out, [tiles], footprints(data, work / "footprints.geojson"), bounds, seed, panoramas=photos, street=photos)
    return out


def pairs(town: Path, window_m: float, clear_m: float = 0.0) -> PairSet:
    """Pair the photos of a half that stand at least so far south of the line with the imagery around them."""
    data = levelled(read_folder(town, [town / "ortho.tif"], window_m))

    def south_m(pair: Pair) -> float:
        assert pair.xy is not None and pair.crs is not None
        return from_lat_lon(parse_crs(pair.crs), BANEPA_HELD_OUT[3], BANEPA_HELD_OUT[0])[1] - pair.xy[1]

    return replace(data, pairs=tuple(pair for pair in data if pair.heading_deg is not None and (not clear_m or south_m(pair) >= clear_m)))


def truth_of(town: Path) -> dict[Path, dict[str, Any]]:
    """Return what is known of each photo."""
    features = json.loads((town / "street.geojson").read_text())["features"]
    return {town / feature["properties"]["file"]: feature["properties"] for feature in features}


def of_kind(asked: PairSet, places: dict[Path, dict[str, Any]], kind: str) -> PairSet:
    """Return the panoramas or the ordinary photos."""
    return replace(asked, pairs=tuple(pair for pair in asked if places[pair.photo]["kind_of_photo"] == kind))


def descriptors(model: EgoTR, as_input: PairInput, town: Path, city: City) -> dict[str, Any]:
    """Ask descriptors alone, headings known, kind by kind."""
    places, figures = truth_of(town), {}
    for kind in ("all", *KINDS):
        part = city.held_out if kind == "all" else of_kind(city.held_out, places, kind)
        found = grid_figures(model.ground, model.aerial, as_input, replace(city, held_out=part))
        figures[f"{kind}, heading known"] = {name: figure.to_json() for name, figure in found.items()}
    return figures


def engine(search: GeoSearch, town: Path, asked: PairSet, count: int, seed: int) -> dict[str, Any]:
    """Ask the whole engine about photos, headings known and unknown, kind by kind."""
    places = truth_of(town)
    figures: dict[str, Any] = {}
    for kind in KINDS:
        own = list(of_kind(asked, places, kind))
        picked = [own[k] for k in np.random.default_rng(seed).permutation(len(own))[:count]]
        for known in (True, False):
            truths = []
            for pair in picked:
                about = places[pair.photo]
                query: dict[str, Any] = {"kind": "street", "fov_deg": about["hfov_deg"]}
                if known:
                    query["heading_deg"] = about["heading_deg"]
                truths.append(Truth(Photo.read(pair.photo), about["lat"], about["lon"], about["heading_deg"], None, None, query))
            rows = list(evaluate(search, truths))
            metres = np.array([np.inf if row.metres is None else row.metres for row in rows])
            located = np.array([row.status == "located" for row in rows])
            figures[f"{kind}, heading {'known' if known else 'unknown'}"] = {
                "photos": len(metres), **{f"within_{limit:g}_m": share(metres <= limit).to_json() for limit in (5.0, NEAR_M)},
                "located": int(located.sum()), "of_those_within_25_m": int((metres[located] <= NEAR_M).sum()),
            }  # fmt: skip
    return figures


def main() -> None:
    """Ask, fine-tune, ask again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=50.0)
    parser.add_argument("--train-photos", type=int, default=1500, help="of each kind, panoramas and ordinary ones, to train on")
    parser.add_argument("--photos", type=int, default=300, help="of each kind, over all the city; the held-out half is asked about")
    parser.add_argument("--engine-photos", type=int, default=30, help="of each kind asked of the whole engine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("runs/street-banepa"))
    parser.add_argument("--data")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    begun = start_from(WEIGHTS).for_street()
    as_input = PairInput(begun.view)
    other = taken(args.work, data_folder(args.data), args.train_photos, "train")
    town = taken(args.work, data_folder(args.data), args.photos, "held-out")
    city = City(pairs(other, as_input.extent_m), pairs(town, as_input.extent_m, max(CLEAR_M, as_input.extent_m)), ())
    print(len(city.train), "photos to train on,", len(city.held_out), "to ask about", flush=True)
    shipped = EgoTR(begun.config).eval()
    shipped.load_state_dict(begun.state or {})
    how = replace(FINE_TUNING, minutes=args.minutes, seed=args.seed, workers=args.workers)
    tuned = train_egotr(
        how, city_source(city, as_input, None, args.seed), args.work / f"run-{args.seed}", view=as_input,
        normalise_tiles=as_input.normalise_tiles, model_config=begun.config, start_from=begun.state, log=print,
    )  # fmt: skip
    own = args.work / f"tuned-{args.seed}.safetensors"
    card = {key: value for key, value in read_card(WEIGHTS).items() if key not in ("digest", "thresholds")}
    save_weights(own, tuned.ground.state_dict(), {**card, "name": "egotr-s-street-banepa"})
    describer = EgoTRDescriber.load()
    view = describer.tile_view
    build_index(
        [town / "ortho.tif"], args.work / "banepa.geo", describer.tiles, describer.identity,
        BuildOptions(tile_m=view.extent_m, tile_px=view.size_px, stride_m=10.0),
    )  # fmt: skip
    figures: dict[str, Any] = {}
    for when, model, weights in (("before", shipped, WEIGHTS), ("after", tuned.eval(), str(own))):
        figures[when] = {"descriptors": descriptors(model, as_input, town, city)}
        print(when, json.dumps(figures[when]), flush=True)
        with GeoSearch.open(args.work / "banepa.geo", street_weights=weights, street_object_weights=None) as search:
            figures[when]["engine"] = engine(search, town, city.held_out, args.engine_photos, args.seed)
        print(when, json.dumps(figures[when]), flush=True)
    about = {"simulated": "photos; the ground, the roofs and their places are real", "minutes": args.minutes, "seed": args.seed}
    record("accuracy-street-banepa", {**about, "trained_on": len(city.train), "held_out": len(city.held_out), "result": figures})


if __name__ == "__main__":
    main()
