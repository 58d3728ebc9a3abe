"""Accuracy of the street weights in simulated towns that no weights were trained on, with controls, written to benchmarks/results/.

python benchmarks/street_accuracy.py [--towns 9007 9014 9002] [--photos 1000] [--engine-photos 100] [--weights NAME] [--work DIR]
Descriptors alone are judged on all photos, the whole engine and its boxes on the first so many. What is done is kept in DIR, case by case.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from common import record
from numpy.typing import NDArray
from street_towns import FOV_DEG, STRIDE_M, VIEWS, HeldOutTown, Shot
from town_scenery import TownScenery
from train_street import HELD_OUT_STYLES

from crossgeo.engine.camera import Camera, camera_of
from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.evaluate import IOUS, NEAR_M, Truth, evaluate, row_json
from crossgeo.engine.pose import StreetPose
from crossgeo.engine.poses import StreetPoseSettings, street_poses_to_try
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.status import Thresholds
from crossgeo.geodesy import distance_m, from_lat_lon, metric_crs_at
from crossgeo.indexer.index import GeoIndex
from crossgeo.models.checkpoint import read_card
from crossgeo.models.egotr import PRESETS, EgoTRBranch
from crossgeo.models.views import DroneView
from crossgeo.training.evaluation.controls import random_turns
from crossgeo.training.evaluation.histograms import Histograms, features_of
from crossgeo.training.evaluation.statistics import median, share
from crossgeo.training.render import World, render_tile
from crossgeo.training.street import StreetCameras, StreetErrors

NEAR_OBJECT_M = 30.0
REACH_M, BLIND_BOXES = 70.0, 2000  # of clicks; how many boxes are drawn blindly for each
LEARNING_TOWN, LEARNING_PAIRS = 201, 600  # of the histograms' map
Rows = NDArray[np.float32]  # (N, D) unit vectors
Turns = NDArray[np.float64]
Describe = Callable[[Shot, list[StreetPose]], Rows]


@dataclass(frozen=True)
class References:
    """The tiles of an index: where they are (N, 2) and what they are described by (N, D)."""

    centres: NDArray[np.float64]
    rows: Rows

    def rank(self, queries: Rows, shot: Shot, ahead_m: NDArray[np.float64]) -> int:
        """Return how many tiles farther than NEAR_M from the camera score at least as high as the best within it: a tie is no hit.

        `queries` (P, D) are the photo's descriptors at P poses; `ahead_m` (P, 2) is how far before the camera each is centred.
        """
        scores = self.rows @ queries.T  # (N, P)
        best, top = scores.argmax(axis=1), scores.max(axis=1)
        away = np.linalg.norm(self.centres - ahead_m[best] - (shot.x, shot.y), axis=1)
        return int((top[away > NEAR_M] >= top[away <= NEAR_M].max(initial=-2.0)).sum())


def poses_of(shot: Shot, view: str, heading_deg: float | None) -> list[StreetPose]:
    """Return the poses that the engine would try; the heading is against grid north."""
    camera: Camera = camera_of(shot.photo, heading_deg, FOV_DEG[view], None, None, "street").levelled(shot.photo)
    return street_poses_to_try(camera, StreetPoseSettings(), 0.0)


def ranks(references: References, describe: Describe, shots: Iterable[Shot], view: str, turns: Turns | None) -> list[int]:
    """Return the rank of each photo; `turns` are added to the headings, which are unknown without them."""
    out = []
    for number, shot in enumerate(shots):
        poses = poses_of(shot, view, None if turns is None else (shot.grid_heading_deg + turns[number]) % 360.0)
        ahead = np.array([pose.offset_m(shot.photo) for pose in poses])
        out.append(references.rank(describe(shot, poses), shot, ahead))
    return out


def recalls(found: list[int], tiles: int) -> dict[str, Any]:
    """Return recall at 1, 5, 10 and one per cent of the tiles, and what chance would find: a circle of NEAR_M holds 20 of them."""
    cuts = {"1": 1, "5": 5, "10": 10, "1%": tiles // 100}
    right = np.pi * NEAR_M**2 / STRIDE_M**2 / tiles
    return {f"R@{name}": share(np.array(found) < k).to_json() | {"chance": 1.0 - (1.0 - right) ** k} for name, k in cuts.items()}


def histograms(index: GeoIndex, tiles: NDArray[np.uint8]) -> tuple[Histograms, References]:
    """Return the map that histograms learn from pairs of a town of training, and the tiles as it describes them."""
    scenery = TownScenery.make(LEARNING_TOWN, 400.0)
    world, rng, view = World(scenery.ground, 0, len(scenery.ground.scenes) - 1, 0.0, False), np.random.default_rng(3), DroneView()
    cameras = StreetCameras([scenery], StreetErrors(height_error=0.0, heading_error_deg=2.0))
    sites = cameras.sites(scenery.ground, view)
    photos, squares = [], []
    for x, y in sites[rng.choice(len(sites), LEARNING_PAIRS)]:
        canvas, _, centre_m = cameras.shoot(world, (float(x), float(y)), view, rng)
        east_px, north_px = world.offset_px(*centre_m)
        photos.append(canvas)
        squares.append(render_tile(world, (float(x) + east_px, float(y) + north_px), view.extent_m, view.size_px))
    learned = Histograms.learn(features_of(photos), features_of(squares))
    return learned, References(index.centres, learned.aerials(features_of(list(tiles))))


def untrained(index: GeoIndex, tiles: NDArray[np.uint8], seed: int = 1) -> tuple[torch.nn.Module, References]:
    """Return a ground branch as it is before any training, and the tiles as the aerial one describes them."""
    torch.manual_seed(seed)
    config, view = PRESETS["egotr-s"], DroneView()
    ground, aerial = (EgoTRBranch(config, hw).eval() for hw in (config.ground_hw, config.aerial_hw))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        rows = [aerial(view.normalise_tiles(tiles[k : k + 64])).float().numpy() for k in range(0, len(tiles), 64)]
    return ground, References(index.centres, np.concatenate(rows))


def controls(index: GeoIndex, street: EgoTRDescriber, town: HeldOutTown, views: Sequence[str], count: int) -> dict[str, Any]:
    """Return what histograms and an untrained network find of photos whose heading is known, view by view."""
    tile_view, segment = street.tile_view, index.segment_of(0)
    tiles = np.stack([index.read_window(segment, x, y, tile_view.extent_m, tile_view.size_px)[0] for x, y in index.centres.tolist()])
    learned, coloured = histograms(index, tiles)
    ground, blank = untrained(index, tiles)
    level = np.zeros(count)

    def canvases(shot: Shot, poses: list[StreetPose]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        offsets = [pose.offset_m(shot.photo) for pose in poses]
        return street.ground.placer.place(shot.photo, poses, offsets, street.canvas_px, street.canvas_m)

    def by_colour(shot: Shot, poses: list[StreetPose]) -> Rows:
        return learned.photos(features_of(list(canvases(shot, poses)[0])))

    def by_chance(shot: Shot, poses: list[StreetPose]) -> Rows:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            rows: Rows = ground(street.ground.view.normalise(*canvases(shot, poses))).float().numpy()
        return rows

    return {
        view: {
            f"histograms, learned from {LEARNING_PAIRS} pairs": recalls(
                ranks(coloured, by_colour, town.shots(view, count), view, level), len(index)
            ),
            "untrained network": recalls(ranks(blank, by_chance, town.shots(view, count), view, level), len(index)),
        }
        for view in views
    }


def descriptors(
    references: References, street: EgoTRDescriber, town: HeldOutTown, view: str, count: int, turns: Turns | None
) -> dict[str, Any]:
    """Ask descriptors alone; `turns` are added to the headings, which are unknown without them."""

    def describe(shot: Shot, poses: list[StreetPose]) -> Rows:
        return street.photo(shot.photo, poses)

    return recalls(ranks(references, describe, town.shots(view, count), view, turns), len(references.rows))


def engine(search: GeoSearch, town: HeldOutTown, view: str, count: int, turns: Turns | None) -> dict[str, Any]:
    """Ask the whole engine, with the click of each photo that has one; `turns` as above."""
    asked = []
    for number, shot in enumerate(town.shots(view, count)):
        query: dict[str, Any] = {"kind": "street", "fov_deg": FOV_DEG[view], "anyway": True}
        if turns is not None:
            query["heading_deg"] = (shot.heading_deg + turns[number]) % 360.0
        asked.append(Truth(shot.photo, shot.lat, shot.lon, shot.heading_deg, shot.point, shot.box, query))
    began = time.process_time()
    rows = list(evaluate(search, asked))
    metres = np.array([row.metres if row.metres is not None else np.inf for row in rows])
    turned = np.array([row.heading_error_deg if row.heading_error_deg is not None else 180.0 for row in rows])
    overlaps = np.array([row.iou for row in rows if row.iou is not None])
    right = metres <= NEAR_M
    return {
        "photos": len(rows), **{f"within_{limit:g}_m": share(metres <= limit).to_json() for limit in (1.0, 5.0, 25.0, 50.0)},
        "median_m": median(metres).to_json(),
        "heading_within_10_deg_of_those_within_25_m": share(turned[right] <= 10.0).to_json() if right.any() else None,
        "boxes": {f"accu@{limit:g}": share(overlaps >= limit).to_json() for limit in IOUS} if len(overlaps) else None,
        "cpu_seconds_a_photo": (time.process_time() - began) / len(rows), "rows": [row_json(row) for row in rows],
    }  # fmt: skip


def believed(rows: list[dict[str, Any]], thresholds: Thresholds) -> dict[str, Any]:
    """Return how many answers are `located` by the thresholds of the weights' card, and how many of those are right."""
    lead = [(row["score"] or 0.0) >= thresholds.score and (row["margin"] or 0.0) >= thresholds.margin for row in rows]
    near = np.array([row["metres"] is not None and row["metres"] <= NEAR_M for row in rows])
    return {"located": share(lead).to_json(), "of_those_within_25_m": share(near[np.array(lead)]).to_json() if any(lead) else None}


def boxes_near(rows: list[dict[str, Any]], shots: Iterable[Shot]) -> dict[str, Any] | None:
    """Return the boxes of objects whose middle is no farther than NEAR_OBJECT_M from the camera."""
    overlaps = []
    for row, shot in zip(rows, shots, strict=True):
        if row["iou"] is not None and shot.box is not None:
            lon, lat = np.mean(shot.box["coordinates"][0][:4], axis=0).tolist()
            if distance_m(shot.lat, shot.lon, lat, lon) <= NEAR_OBJECT_M:
                overlaps.append(row["iou"])
    return {f"accu@{limit:g}": share(np.array(overlaps) >= limit).to_json() for limit in IOUS} if overlaps else None


def boxes_by_chance(shots: Sequence[Shot], reach_m: float) -> dict[str, float]:
    """Return how often a box of another click's size would be right, put anywhere within reach of the true camera, expected."""
    true = np.array([_box_m(shot) for shot in shots if shot.box is not None])  # (N, 4) metres east and north of the camera
    rng = np.random.default_rng(8)
    sizes = (true[:, 2:] - true[:, :2])[rng.integers(len(true), size=(len(true), BLIND_BOXES))]
    away, turn = reach_m * np.sqrt(rng.random(sizes.shape[:2])), rng.uniform(0.0, 2.0 * np.pi, sizes.shape[:2])
    middle = np.stack([away * np.sin(turn), away * np.cos(turn)], axis=-1)
    low, high = middle - sizes / 2.0, middle + sizes / 2.0
    side = (np.minimum(high, true[:, None, 2:]) - np.maximum(low, true[:, None, :2])).clip(min=0.0)
    both = side.prod(axis=-1)
    iou = both / (sizes.prod(axis=-1) + (true[:, 2:] - true[:, :2]).prod(axis=-1)[:, None] - both)
    return {f"accu@{limit:g}": float((iou >= limit).mean()) for limit in IOUS}


def _box_m(shot: Shot) -> list[float]:
    """Return the true box of a shot's click, in metres east and north of the camera."""
    crs = metric_crs_at(shot.lat, shot.lon)
    assert shot.box is not None
    corners = np.array([from_lat_lon(crs, lat, lon) for lon, lat in shot.box["coordinates"][0][:4]])
    corners -= from_lat_lon(crs, shot.lat, shot.lon)
    return [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()]


def judge(seed: int, args: argparse.Namespace, describer: EgoTRDescriber) -> dict[str, Any]:
    """Return all figures of one town, case by case."""
    town = HeldOutTown(seed, args.size_m, args.work)
    street = describer.for_street(args.weights)
    thresholds = Thresholds.from_card(street.card)
    own = town.folder / "-".join(str(read_card(weights)["digest"])[:8] for weights in (args.weights, args.object_weights))
    own.mkdir(exist_ok=True)

    def kept(name: str, make: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
        path = own / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(make(*given)))
            print(seed, name, {k: v for k, v in json.loads(path.read_text()).items() if k != "rows"}, flush=True)
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    index_path = town.index(describer)
    with (
        GeoIndex.open(index_path) as index,
        GeoSearch.open(index_path, street_weights=args.weights, street_object_weights=args.object_weights) as search,
    ):
        references = References(index.centres, index.descriptors(np.arange(len(index))))
        result: dict[str, Any] = {"seed": seed, "style": town.town.style, "tiles": len(index), "cases": {}}
        for view, known in product(args.views, (True, False)):
            few = args.engine_photos if view in args.engine_views else 0
            many = args.photos if known else min(args.photos, args.unknown_photos)
            level, turns = np.zeros(max(few, many)), random_turns(max(few, many), seed)
            case: dict[str, Any] = {}
            if few:
                case["engine"] = kept(f"engine-{view}-{known}-{few}", engine, search, town, view, few, level if known else None)
                case["engine"] |= believed(case["engine"]["rows"], thresholds)
                case["engine"]["boxes_within_30_m"] = boxes_near(case["engine"]["rows"], town.shots(view, few))
                case["boxes by chance"] = boxes_by_chance(list(town.shots(view, few)), REACH_M)
            if many:
                case["descriptors"] = kept(
                    f"rows-{view}-{known}-{many}", descriptors, references, street, town, view, many, level if known else None
                )
            if known and few and view == "360":
                shifted = kept(f"engine-shifted-{few}", engine, search, town, view, few, turns)
                case["engine, heading shifted at random"] = shifted | believed(shifted["rows"], thresholds)
            if known and many:
                name = f"shifted-{many}" if view == "360" else f"shifted-{view}-{many}"
                case["heading shifted at random"] = kept(name, descriptors, references, street, town, view, many, turns)
                every = kept(f"controls-{'-'.join(args.views)}-{many}", controls, index, street, town, args.views, many)
                case["controls"] = every[view]
            result["cases"][f"{view} degrees, heading {'known' if known else 'unknown'}"] = case
    return result


def main() -> None:
    """Judge all towns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--towns", type=int, nargs="+", default=[9007, 9014, 9002])
    parser.add_argument("--size-m", type=float, default=1000.0)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--unknown-photos", type=int, default=200)
    parser.add_argument("--engine-photos", type=int, default=100)
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=list(VIEWS))
    parser.add_argument("--engine-views", nargs="+", choices=VIEWS, default=["360", "90"], help="that the engine is asked about")
    parser.add_argument("--weights", default="egotr-s-street")
    parser.add_argument("--object-weights", default="attengeo-s-street")
    parser.add_argument("--work", type=Path, default=Path("runs/street-accuracy"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    describer = EgoTRDescriber.load()
    towns = [judge(seed, args, describer) for seed in args.towns]
    about = f"towns held out by seed; styles {', '.join(HELD_OUT_STYLES)} held out, too"
    record(
        "accuracy-street",
        {"simulated": about, "weights": args.weights, "object_weights": args.object_weights, "stride_m": STRIDE_M, "towns": towns},
    )


if __name__ == "__main__":
    main()
