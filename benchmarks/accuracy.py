"""Accuracy of the shipped drone weights on ground they never saw: places and boxes, real and simulated, written to benchmarks/results/.

python benchmarks/accuracy.py [calibrate] [brighton] [views] [bare] [objects] [town] [foreign] [--data DIR] [--work DIR] [--count N]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ground_truth
import numpy as np
from common import record

from crossgeo.demo import real_questions, town_questions
from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.evaluate import Row, Truth, evaluate, row_json, summary
from crossgeo.engine.photo import Photo
from crossgeo.engine.search import GeoSearch
from crossgeo.indexer.build import BuildOptions, build_index

PARTS = ("brighton", "views", "bare", "objects", "town", "foreign")
RENDERED = "photos rendered from real imagery, held-out ground"


def wilson(hits: float, count: int) -> list[float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    z = 1.96
    middle = (hits + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * float(np.sqrt(hits * (1 - hits) / count + z * z / (4 * count * count)))
    return [round(middle - half, 4), round(middle + half, 4)]


def city(work: Path, name: str, sources: list[Path], weights: str) -> tuple[Path, dict[str, Any]]:
    """Build an index, or take the one that is there, and say what it cost."""
    describer = EgoTRDescriber.load(weights)
    out = work / f"{name}.geo"
    options = BuildOptions(tile_m=describer.tile_view.extent_m, tile_px=describer.tile_view.size_px)
    fresh, began = not out.exists(), time.perf_counter()
    manifest = build_index(sources, out, describer.tiles, describer.identity, options)
    took_s = time.perf_counter() - began
    tiles = sum(segment.tiles for segment in manifest.segments)
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    built = {"tiles": tiles, "bytes": size}
    return out, {**built, "seconds": round(took_s, 1), "tiles_per_s": round(tiles / took_s, 1)} if fresh else built


def measure(index: Path, truths: Iterable[Truth], args: argparse.Namespace) -> tuple[list[Row], dict[str, Any]]:
    """Ask all questions and sum up, with intervals."""
    with GeoSearch.open(index, args.weights, args.object_weights) as search:
        rows = []
        for row in evaluate(search, truths):
            rows.append(row)
            if len(rows) % 25 == 0:
                print(f"{len(rows)}: {sum((r.metres or 1e9) <= 25 for r in rows)} within 25 m", flush=True)
    result = summary(rows)
    result["within_m_95"] = {limit: wilson(share, len(rows)) for limit, share in result["within_m"].items()}
    if result["iou_at_least"]:
        clicked = sum(row.iou is not None for row in rows)
        result["iou_at_least_95"] = {limit: wilson(share, clicked) for limit, share in result["iou_at_least"].items()}
    return rows, result


def bare(truths: Iterable[Truth]) -> list[Truth]:
    """Take the heading from photos whose EXIF has one: the bars ask for unknown headings."""
    out = []
    for truth in truths:
        photo = truth.photo if isinstance(truth.photo, Photo) else Photo.read(truth.photo)
        out.append(replace(truth, photo=replace(photo, exif=replace(photo.exif, heading_deg=None))))
    return out


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[], help="which parts; all unless named")
    parser.add_argument("--data")
    parser.add_argument("--work", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--weights", default="egotr-s-drone")
    parser.add_argument("--object-weights", default="attengeo-s-drone")
    args = parser.parse_args()
    parts = args.parts or PARTS
    data = ground_truth.data_folder(args.data)
    args.work.mkdir(parents=True, exist_ok=True)
    three = [data / "drone_brighton_beach" / "mosaic.tif", data / "oam_banepa" / "tiles_z19", data / "oam_zanzibar"]
    if "calibrate" in parts:
        record("calibration", calibrate(data, three[1:2], args))
    if "brighton" in parts:
        index, built = city(args.work, "three", three, args.weights)
        questions = real_questions(data / "drone_brighton_beach")
        rows, result = measure(index, bare(Truth(q.photo, q.lat, q.lon) for q in questions), args)
        record("accuracy-brighton", {"simulated": False, "index": built, "result": result, "rows": [row_json(r) for r in rows]})
    if "views" in parts:
        index, built = city(args.work, "three", three, args.weights)
        ground = ground_truth.banepa(data, "held-out")
        _, result = measure(index, ground_truth.rendered_truths(ground, args.count, 11, camera_known=True), args)
        record("accuracy-banepa-views", {"simulated": RENDERED, "index": built, "result": result})
    if "bare" in parts:  # the same with nothing known of the camera, a fifth as many
        index, built = city(args.work, "three", three, args.weights)
        ground = ground_truth.banepa(data, "held-out")
        _, result = measure(index, ground_truth.rendered_truths(ground, args.count // 5, 13, camera_known=False), args)
        record("accuracy-banepa-bare", {"simulated": RENDERED, "index": built, "result": result})
    if "objects" in parts:
        index, built = city(args.work, "three", three, args.weights)
        ground = ground_truth.banepa(data, "held-out")
        truths = ground_truth.rendered_truths(ground, min(args.count, 300), 12, camera_known=True, clicks=True)
        _, result = measure(index, truths, args)
        simulated = "photos rendered from real imagery, held-out buildings"
        record("accuracy-banepa-objects", {"simulated": simulated, "index": built, "result": result})
    if "town" in parts:
        record("accuracy-town", town(args))
    if "foreign" in parts:
        index, _ = city(args.work, "banepa", three[1:2], args.weights)
        photos = sorted((data / "drone_brighton_beach" / "photos").glob("*")) + sorted((data / "street_gps").rglob("*.jpg"))
        with GeoSearch.open(index, args.weights, None) as search:
            answers = [search.query(photo) for photo in photos]
        counts = {status: sum(a.status == status for a in answers) for status in sorted({a.status for a in answers})}
        scores = [round(a.places[0].score, 4) if a.places else None for a in answers]
        record("accuracy-foreign", {"simulated": False, "photos": len(photos), "status": counts, "scores": scores})
    print(json.dumps({"peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


def calibrate(data: Path, sources: list[Path], args: argparse.Namespace) -> dict[str, Any]:
    """Find the score that few photos of other ground reach, from views that no other part of this benchmark uses."""
    index, _ = city(args.work, "banepa", sources, args.weights)
    held = ground_truth.banepa(data, "held-out")
    own = [t for known, n in ((True, 20), (False, 10)) for t in ground_truth.rendered_truths(held, n, 31, camera_known=known)]
    others = [t for ground in ground_truth.zanzibar(data) for t in ground_truth.rendered_truths(ground, 12, 32, camera_known=False)]
    with GeoSearch.open(index, args.weights, None) as search:
        rows = list(evaluate(search, own))
        foreign = sorted(row.score for row in evaluate(search, others) if row.score is not None)
    right = sorted(row.score for row in rows if row.score is not None and row.metres is not None and row.metres <= 25.0)
    wrong = [(row.score, row.margin) for row in rows if row.metres is None or row.metres > 25.0]
    return {
        "simulated": "views rendered from held-out Banepa, and from Zanzibar against an index of Banepa",
        "foreign_scores": foreign, "right_scores": right, "wrong_scores_and_margins": wrong,
        "score_that_95_percent_of_right_reach": float(np.quantile(right, 0.05)),
        "score_that_5_percent_of_foreign_reach": float(np.quantile(foreign, 0.95)),
    }  # fmt: skip


def town(args: argparse.Namespace) -> dict[str, Any]:
    """Ask about photos of a town that no weights were trained on, one clicked building each."""
    from crossgeo.town.write import write_town

    folder = args.work / "town"
    if not folder.exists():
        write_town(folder, ground_truth.HELD_OUT_TOWN, 600, 200)
    index, built = city(args.work, "town", [folder / "ortho.tif"], args.weights)
    questions = town_questions(folder)[: min(args.count, 200)]
    truths = bare(Truth(q.photo, q.lat, q.lon, q.heading_deg, q.point, q.box) for q in questions)
    _, result = measure(index, truths, args)
    return {"simulated": "a town held out by its seed", "seed": ground_truth.HELD_OUT_TOWN, "index": built, "result": result}


if __name__ == "__main__":
    main()
