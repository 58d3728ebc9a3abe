"""Accuracy of the street weights in simulated towns that no weights were trained on, with controls, written to benchmarks/results/.

python benchmarks/street_accuracy.py [--towns 9007 9014 9002] [--photos 1000] [--engine-photos 100] [--weights NAME] [--work DIR]
Descriptors alone are judged on all photos, the whole engine on the first so many; a run goes on where it was cut, town by town.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import record
from numpy.typing import NDArray

from crossgeo.engine.camera import camera_of
from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.evaluate import Truth, evaluate, row_json
from crossgeo.engine.photo import Photo
from crossgeo.engine.poses import StreetPoseSettings, street_poses_to_try
from crossgeo.engine.search import GeoSearch
from crossgeo.geodesy import grid_convergence_deg
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.town.aerial import render_ortho
from crossgeo.town.layout import Town, make_town
from crossgeo.town.scene import Scene, draw_scene
from crossgeo.town.street_camera import StreetPose
from crossgeo.town.street_photo import render_panorama, render_perspective
from crossgeo.town.street_poses import draw_street_poses
from crossgeo.town.street_world import StreetWorld
from crossgeo.town.write import ortho_scene_of, write_ortho
from crossgeo.training.evaluation.statistics import median, share

STRIDE_M = 10.0
NEAR_M = 25.0
CONDITIONS = (("panorama", True), ("panorama", False), ("90 degrees", True), ("90 degrees", False))


@dataclass(frozen=True)
class Shot:
    """A photo, where it was taken and where it looks (grid north, and true north)."""

    photo: Photo
    pose: StreetPose
    lat: float
    lon: float
    heading_deg: float


class Ground:
    """One held-out town: its index and its photos."""

    def __init__(self, seed: int, size_m: float, work: Path, describer: EgoTRDescriber) -> None:
        self.town: Town = make_town(seed, size_m)
        self.world = StreetWorld(self.town)
        rng = np.random.default_rng([seed, 61])
        ortho = work / f"street-{seed}.tif"
        if not ortho.exists():
            write_ortho(ortho, self.town, render_ortho(self.town, ortho_scene_of(rng), 0.2), 0.2)
        self.index = work / f"street-{seed}.geo"
        view = describer.tile_view
        options = BuildOptions(tile_m=view.extent_m, tile_px=view.size_px, stride_m=STRIDE_M)
        build_index([ortho], self.index, describer.tiles, describer.identity, options)

    def shots(self, kind: str, count: int) -> Iterator[Shot]:
        """Take photos at the same places for every kind, each on a day of its own (one of eight for traffic)."""
        rng = np.random.default_rng([self.town.seed, 77])
        poses = list(draw_street_poses(self.town, count, rng))
        for number, pose in enumerate(poses):
            day = draw_scene(np.random.default_rng([self.town.seed, 5, number]))
            scene = Scene(**{**vars(day), "traffic_seed": number % 5})
            if kind == "panorama":
                rgb, _ = render_panorama(self.world, pose, scene, 512, 1024, 2)
            else:
                rgb, _ = render_perspective(self.world, pose, scene, 90.0, 1024, 768, 2)
            lat, lon = self.town.to_lat_lon(pose.x, pose.y)
            turn = grid_convergence_deg(self.town.crs, *self.town.to_crs(pose.x, pose.y))
            yield Shot(Photo.from_pixels(rgb, f"{self.town.seed}-{number}"), pose, lat, lon, (pose.heading_deg + turn) % 360.0)


def ranks(ground: Ground, index: GeoIndex, describer: EgoTRDescriber, shots: list[Shot], known: bool, control: bool) -> NDArray[np.int64]:
    """Return for each photo how many tiles farther than NEAR_M score at least as high as the best within it; ties count against it.

    As `control` each heading is shifted at random.
    """
    references = index.descriptors(np.arange(len(index)))
    out, rng = [], np.random.default_rng(9)
    for shot in shots:
        heading = (shot.pose.heading_deg + (rng.uniform(60.0, 300.0) if control else 0.0)) % 360.0
        fov = 360.0 if shot.photo.width_px == 2 * shot.photo.height_px else 90.0
        camera = camera_of(shot.photo, heading if known else None, fov, None, None, "street")
        queries = describer.photo(shot.photo, street_poses_to_try(camera, StreetPoseSettings(), 0.0))
        poses = street_poses_to_try(camera, StreetPoseSettings(), 0.0)
        scores = references @ queries.T  # (N, P)
        ahead = np.array([pose.offset_m(shot.photo) for pose in poses])  # (P, 2)
        x, y = ground.town.to_crs(shot.pose.x, shot.pose.y)
        best = scores.argmax(axis=1)
        away = np.linalg.norm(index.centres - ahead[best] - (x, y), axis=1)
        top = scores.max(axis=1)
        near = top[away <= NEAR_M]
        out.append(int((top[away > NEAR_M] >= near.max(initial=-2.0)).sum()))
    return np.array(out)


def judge(seed: int, args: argparse.Namespace, describer: EgoTRDescriber) -> dict[str, Any]:
    """Return all figures of one town."""
    ground = Ground(seed, args.size_m, args.work, describer)
    street = describer.for_street(args.weights)
    result: dict[str, Any] = {"seed": seed, "style": ground.town.style}
    with GeoIndex.open(ground.index) as index:
        result["tiles"] = len(index)
        for kind in ("panorama", "90 degrees"):
            shots = list(ground.shots(kind, args.photos))
            for known in (True, False):
                name = f"{kind}, heading {'known' if known else 'unknown'}"
                found = ranks(ground, index, street, shots[: args.photos if known else args.unknown_photos], known, False)
                result[name] = {"descriptors": shares(found, len(index))}
                if known:
                    shifted = ranks(ground, index, street, shots[: args.unknown_photos], True, True)
                    result[name]["heading shifted at random"] = shares(shifted, len(index))
                print(seed, name, json.dumps(result[name]), flush=True)
            if args.engine_photos:
                result |= engine(ground, kind, shots[: args.engine_photos], args, result)
    return result


def engine(ground: Ground, kind: str, shots: list[Shot], args: argparse.Namespace, result: dict[str, Any]) -> dict[str, Any]:
    """Ask the whole engine about some photos."""
    out = {}
    with GeoSearch.open(ground.index, street_weights=args.weights) as search:
        for known in (True, False):
            name = f"{kind}, heading {'known' if known else 'unknown'}"
            fov = 360.0 if kind == "panorama" else 90.0
            asked = [
                Truth(s.photo, s.lat, s.lon, s.heading_deg, query={"kind": "street", "fov_deg": fov}
                      | ({"heading_deg": s.heading_deg} if known else {}))
                for s in shots
            ]  # fmt: skip
            began = time.perf_counter()
            rows = list(evaluate(search, asked))
            metres = np.array([row.metres if row.metres is not None else np.inf for row in rows])
            turned = np.array([row.heading_error_deg if row.heading_error_deg is not None else 180.0 for row in rows])
            right = metres <= NEAR_M
            out[name] = {**result[name], "engine": {
                "photos": len(rows), "within_25_m": share(right).to_json(),
                "within_5_m": share(metres <= 5.0).to_json(), "median_m": median(metres).to_json(),
                "heading_within_10_deg_of_those": share(turned[right] <= 10.0).to_json() if right.any() else None,
                "seconds_a_photo": (time.perf_counter() - began) / len(rows), "scores": [row_json(row) for row in rows],
            }}  # fmt: skip
            print(ground.town.seed, name, {k: v for k, v in out[name]["engine"].items() if k != "scores"}, flush=True)
    return out


def shares(found: NDArray[np.int64], tiles: int) -> dict[str, Any]:
    """Return recall within NEAR_M at 1, 5, 10 and one per cent of the tiles."""
    cuts = {"1": 1, "5": 5, "10": 10, "1%": tiles // 100}
    return {"photos": len(found)} | {f"R@{name}": share(found < k).to_json() for name, k in cuts.items()}


def main() -> None:
    """Judge all towns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--towns", type=int, nargs="+", default=[9007, 9014, 9002])
    parser.add_argument("--size-m", type=float, default=1000.0)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--unknown-photos", type=int, default=200)
    parser.add_argument("--engine-photos", type=int, default=100)
    parser.add_argument("--weights", default="egotr-s-street")
    parser.add_argument("--work", type=Path, default=Path("runs/street-accuracy"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    describer = EgoTRDescriber.load()
    towns = []
    for seed in args.towns:
        kept = args.work / f"{args.weights.replace('/', '_')}-{seed}-{args.photos}.json"
        if not kept.exists():
            kept.write_text(json.dumps(judge(seed, args, describer)))
        towns.append(json.loads(kept.read_text()))
    record("accuracy-street", {"simulated": "towns held out by seed and, two of three, by style", "stride_m": STRIDE_M, "towns": towns})


if __name__ == "__main__":
    main()
