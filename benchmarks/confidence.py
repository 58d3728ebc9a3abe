"""How far stated confidence holds, on ground that it was not fitted to, written to benchmarks/results/.

python benchmarks/confidence.py [street] [towns] [real] [--data DIR] [--work DIR] [--seeds 9030 9031 ...] [--count N] [--plots DIR]
street: the answers that accuracy-street.json holds, so that nothing is asked; towns: simulated drone photos; real: drone views rendered
from real imagery, and the confidence that they teach, held against real drone photos. Answers are kept: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import ground_truth
import numpy as np
import torch
from common import RESULTS, record
from confidence_questions import Asked, asked, rendered_truths, town_index, town_truths

from crossgeo.demo import real_questions
from crossgeo.engine.calibrate.conformal import radii_at
from crossgeo.engine.calibrate.features import features_of
from crossgeo.engine.calibrate.fit import fit_kind, seen_of
from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.evaluate import Truth
from crossgeo.engine.evidence import Evidence
from crossgeo.engine.photo import Photo
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.status import Sure
from crossgeo.geodesy import distance_m, from_lat_lon, metric_crs_at
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.town.layout import make_town
from crossgeo.town.street_poses import draw_street_poses
from crossgeo.training.calibration.held_out import figures, hold_out
from crossgeo.training.calibration.observing import Observed, cell_side_m, cells_of
from crossgeo.training.calibration.reliability_plot import save_reliability
from crossgeo.training.evaluation.statistics import share

APART_M = 1e6  # by which towns are held apart
STREET_POSES = {True: 5, False: 24}  # headings that are tried where one is known and where none is
GAP_M = 30.0
SPLIT_SEED = 0


def observed_of(evidence: Sequence[Evidence], away_m: Sequence[float], xy: Sequence[tuple[float, float]]) -> Observed:
    """Return pairs as the calibration takes them."""
    places = np.array(xy)
    side_m = cell_side_m(places)
    return Observed(seen_of(evidence, away_m, cells_of(places, side_m).tolist()), places, side_m)


def judged(observed: Observed, reach_m: float, plot: Path | None, title: str) -> dict[str, Any]:
    """Return the figures of held-out ground, and draw them."""
    held = hold_out(observed, reach_m, GAP_M, SPLIT_SEED)
    if held is None:
        raise SystemExit(f"{title}: too few pairs to hold any out")
    if plot is not None:
        save_reliability(plot, held, title, f"{held.splits} splits by ground; bars are intervals of 95 %")
    about = {"pairs": len(observed.seen), "cell_m": observed.cell_m, "reach_m": reach_m, "gap_m": GAP_M, "split_seed": SPLIT_SEED}
    return {**about, "figures": figures(held, Sure(), SPLIT_SEED)}


def street(plots: Path | None) -> dict[str, Any]:
    """Judge the answers of accuracy-street.json, of which score, margin, radius and heading are known, and no more."""
    evidence: list[Evidence] = []
    away_m: list[float] = []
    xy: list[tuple[float, float]] = []
    seeds = []
    for number, town in enumerate(json.loads((RESULTS / "accuracy-street.json").read_text())["towns"]):
        seeds.append(town["seed"])
        # As `street_towns.HeldOutTown` draws them.
        poses = list(draw_street_poses(make_town(town["seed"], 1000.0), 1000, np.random.default_rng([town["seed"], 77])))
        for name, case in town["cases"].items():
            for row, pose in zip(case["engine"]["rows"] if "engine" in case else [], poses, strict=False):
                if row["metres"] is None:
                    continue
                score = round(row["score"], 4)
                seen_m, tried = float(name.split()[0]) / 6.0, STREET_POSES["unknown" not in name]
                evidence.append(Evidence("street", score, score, None, row["margin"], 0, 1.0, seen_m, row["radius_m"], tried))
                away_m.append(row["metres"])
                xy.append((pose.x + APART_M * number, pose.y))
    title = "Street photos of simulated towns: probabilities told and come true"
    found = judged(observed_of(evidence, away_m, xy), 1500.0, None if plots is None else plots / "confidence-street.png", title)
    return {"simulated": "towns held out by seed; answers of accuracy-street.json", "seeds": seeds, **found}


def evidence_in(answers: Sequence[Asked]) -> tuple[list[Evidence], list[float], list[tuple[float, float]]]:
    """Return evidence, distances from the truth and places in metres of answers that have a place."""
    evidence, away_m, xy = [], [], []
    for one in answers:
        if one.record["places"]:
            best = one.record["places"][0]
            evidence.append(Evidence(**one.record["evidence"]))
            away_m.append(distance_m(best["lat"], best["lon"], one.lat, one.lon))
            xy.append(from_lat_lon(metric_crs_at(one.lat, one.lon), one.lat, one.lon))
    return evidence, away_m, xy


def towns(args: argparse.Namespace) -> dict[str, Any]:
    """Ask about drone photos of towns that no weights were trained on."""
    describer = EgoTRDescriber.load()
    evidence: list[Evidence] = []
    away_m: list[float] = []
    xy: list[tuple[float, float]] = []
    for number, seed in enumerate(args.seeds):
        with GeoSearch.open(town_index(seed, args.work, describer), object_weights=None) as search:
            own = evidence_in(asked(args.work / f"town-{seed}.jsonl", search, town_truths(seed, args.count)))
        evidence += own[0]
        away_m += own[1]
        xy += [(x + APART_M * number, y) for x, y in own[2]]
    title = "Drone photos of simulated towns: probabilities told and come true"
    found = judged(observed_of(evidence, away_m, xy), 600.0, None if args.plots is None else args.plots / "confidence-towns.png", title)
    return {"simulated": "towns held out by seed", "seeds": args.seeds, **found}


def real(args: argparse.Namespace) -> dict[str, Any]:
    """Ask about views rendered from real imagery that was held out, and about real photos; fit to the former, judge the latter."""
    data = ground_truth.data_folder(args.data)
    describer, flight = EgoTRDescriber.load(), data / "drone_brighton_beach"
    view, index = describer.tile_view, args.work / "three.geo"
    sources = [flight / "mosaic.tif", data / "oam_banepa" / "tiles_z19", data / "oam_zanzibar"]
    build_index(sources, index, describer.tiles, describer.identity, BuildOptions(tile_m=view.extent_m, tile_px=view.size_px))
    bare = []
    for question in real_questions(flight):
        photo = Photo.read(question.photo)
        bare.append(Truth(replace(photo, exif=replace(photo.exif, heading_deg=None)), question.lat, question.lon))
    with GeoSearch.open(index, object_weights=None) as search:
        rendered = evidence_in(asked(args.work / "rendered.jsonl", search, rendered_truths(data, args.count, 41)))
        photos = evidence_in(asked(args.work / "real.jsonl", search, bare))
    reach_m = 2e7  # the index lies on three continents
    observed = observed_of(*rendered)
    fitted = fit_kind(observed.seen, reach_m)
    rows = features_of(photos[0])
    away_m = np.array(photos[1])
    if fitted.level is None:
        raise SystemExit("too few views for a radius; ask about more with --count")
    radii_m, told = radii_at(fitted.chances.at(rows), fitted.level, reach_m), fitted.chances.told(rows)
    judgements = list(zip(photos[1], radii_m.tolist(), told[:, 2].tolist(), strict=True))
    return {
        "simulated": "views rendered from held-out real imagery; the photos are real",
        "rendered": judged(observed, reach_m, None, "rendered views"),
        "real": {
            "photos": len(away_m), "coverage": share(away_m <= radii_m).to_json(), "median_radius_m": float(np.median(radii_m)),
            "within_25_m": share(away_m <= 25.0).to_json(), "mean_told_within_25_m": float(told[:, 2].mean()),
            "rows": [{"metres": m, "radius_m": r, "within_25_m": p} for m, r, p in judgements],
        },
    }  # fmt: skip


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], help="which parts; all unless named")
    parser.add_argument("--data")
    parser.add_argument("--work", type=Path, default=Path("runs/confidence"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(9030, 9042)))
    parser.add_argument("--count", type=int, default=40, help="photos of each town, and five times as many rendered views")
    parser.add_argument("--plots", type=Path, help="folder for reliability plots")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    parts = args.parts or ("street", "towns", "real")
    if "street" in parts:
        record("confidence-street", street(args.plots))
    if "towns" in parts:
        record("confidence-towns", towns(args))
    if "real" in parts:
        args.count *= 5
        record("confidence-real", real(args))


if __name__ == "__main__":
    main()
