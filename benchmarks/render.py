"""Street pictures of a simulated square kilometre on one CPU thread: seconds and rays a second, beside the bare ray caster.

Run: python benchmarks/render.py [--rounds 5] [--size-m 1000] [--poses 8]. The caster (Embree) casts the same first rays against the same
triangles and nothing else: no leaves' gaps, shadows, walls, ground, sky or camera, which are what a picture costs beyond it.
"""

from __future__ import annotations

import argparse
from itertools import cycle
from typing import Any

import cv2
import numpy as np
from common import record, spread

from crossgeo.engine.runtime.timing import in_turn
from crossgeo.town.layout import make_town
from crossgeo.town.scene import draw_scene
from crossgeo.town.street_camera import Panorama, StreetLens, StreetPose
from crossgeo.town.street_photo import take_street_photo
from crossgeo.town.street_poses import draw_street_poses
from crossgeo.town.street_world import FAR_M, StreetWorld

SEED = 9007
CAMERAS: dict[str, tuple[Panorama | StreetLens, int]] = {
    "panorama 128 x 512 px, as models see it": (Panorama(128, 512), 1),
    "panorama 512 x 1024 px, one ray a pixel": (Panorama(512, 1024), 1),
    "panorama 512 x 1024 px, as written": (Panorama(512, 1024), 2),
    "photo 1024 x 768 px, as written": (StreetLens(70.0, 1024, 768), 2),
}


def measure(world: StreetWorld, poses: list[StreetPose], camera: Panorama | StreetLens, samples: int, rounds: int) -> dict[str, Any]:
    """Time one kind of picture and the bare caster, at each pose in turn."""
    scene = draw_scene(np.random.default_rng(5))
    at = {"picture": cycle(poses), "caster": cycle(poses)}

    def picture() -> None:
        take_street_photo(world, next(at["picture"]), camera, scene, samples)

    def caster() -> None:
        pose = next(at["caster"])
        for sample in range(samples):
            rays = np.ascontiguousarray(camera.directions(pose, (sample + 0.5) / samples, 0.5).reshape(-1, 3), np.float32)
            origins = np.ascontiguousarray(np.broadcast_to(pose.origin.astype(np.float32), rays.shape))
            world.caster.first(origins, rays, np.full(len(rays), FAR_M, np.float32))

    seconds = in_turn({"picture": picture, "caster": caster}, rounds * len(poses))
    rays = camera.height_px * camera.width_px * samples
    return {
        "rays": rays, "seconds": spread(seconds["picture"]), "caster_seconds": spread(seconds["caster"]),
        "million_rays_a_second": spread([rays / s / 1e6 for s in seconds["picture"]], 2),
        "times_the_caster": spread([a / b for a, b in zip(seconds["picture"], seconds["caster"], strict=True)], 2),
    }  # fmt: skip


def main() -> None:
    """Measure all kinds of pictures and record them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size-m", type=float, default=1000.0)
    parser.add_argument("--poses", type=int, default=8)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    world = StreetWorld(make_town(SEED, args.size_m))
    poses = list(draw_street_poses(world.town, args.poses, np.random.default_rng(3)))
    cases = {name: measure(world, poses, camera, samples, args.rounds) for name, (camera, samples) in CAMERAS.items()}
    about = {"clock": "process time, one thread", "town": SEED, "size_m": args.size_m, "triangles": len(world.triangles.kind)}
    record("render", {**about, "rounds": args.rounds, "poses": args.poses, "cases": cases})


if __name__ == "__main__":
    main()
