"""Simulated drives through held-out towns: a photo every 10 m of street, with clicks that stay on one object while it is seen."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image
from street_towns import DAYS, FOV_DEG, GSD_M, KNOWN, LENSES, PITCH_DEG, HeldOutTown

from crossgeo.engine.photo import Photo
from crossgeo.engine.search import GeoSearch
from crossgeo.geodesy import grid_convergence_deg
from crossgeo.town.layout import Town
from crossgeo.town.scene import draw_scene
from crossgeo.town.street_camera import StreetLens, StreetPose
from crossgeo.town.street_photo import take_street_photo
from crossgeo.town.street_poses import dense_street_poses
from crossgeo.town.street_write import draw_street_clicks, object_feature

Json = dict[str, Any]
EVERY, SPEED_M_S = 2, 10.0  # of the poses 5 m apart; a photo a second
SEEN_BY_FEW = 3  # photos that must see an object for it to be clicked


def answered(home: HeldOutTown, search: GeoSearch, lens: str, count: int, top: int) -> list[Json]:
    """Return a row for each photo of a drive: its `record` as a batch has it, and its `truth`; kept beside the town's photos.

    The heading is not known to the search, and all photos of a stretch of street are one group, taken a second apart.
    """
    drive = drawn(home, lens, count)
    rows = []
    for shot in drive:
        kept = home.folder / f"{shot['name']}.answer.json"
        if not kept.exists():
            photo = Photo.from_pixels(np.asarray(Image.open(home.folder / f"{shot['name']}.jpg")), shot["name"])
            point = None if shot["point"] is None else tuple(shot["point"])
            answer = search.query(photo, point, top=top, fov_deg=FOV_DEG[lens], kind="street").to_json()
            kept.write_text(json.dumps({**answer, "group": shot["group"], "taken": shot["taken"]}))
        rows.append({"record": json.loads(kept.read_text()), "truth": shot})
    return rows


def drawn(home: HeldOutTown, lens: str, count: int) -> list[Json]:
    """Return the photos of a drive, taken unless they are there: the longest stretches of the densest corner, `count` photos in all."""
    listing = home.folder / f"drive-{lens}-{count}.json"
    if not listing.exists():
        town = home.town
        stretches = dense_street_poses(town, 12 * count, np.random.default_rng([town.seed, 83]), rim_m=40.0)
        stretches.sort(key=len, reverse=True)
        shots: list[Json] = []
        for group, stretch in enumerate(stretches):
            for step, pose in enumerate(stretch[::EVERY]):
                if len(shots) < count:
                    shots.append(_taken(home, lens, group, step, pose))
        _choose_clicks(town, shots)
        listing.write_text(json.dumps(shots))
    found: list[Json] = json.loads(listing.read_text())
    return found


def _taken(home: HeldOutTown, lens: str, group: int, step: int, pose: StreetPose) -> Json:
    """Take a photo and return what is true of it, with a click for each thing that it shows."""
    town, camera = home.town, LENSES[lens]
    name = f"drive-{lens}-{group:02d}-{step:02d}"
    rng = np.random.default_rng([town.seed, 89, group, step, camera.width_px])
    scene = replace(draw_scene(np.random.default_rng([town.seed, 97, group])), traffic_seed=group % DAYS)  # one drive, one light
    if isinstance(camera, StreetLens):
        pose = replace(pose, pitch_deg=pose.pitch_deg + float(rng.uniform(*PITCH_DEG)))
    rgb, hits = take_street_photo(home.world, pose, camera, scene)
    Image.fromarray(rgb).save(home.folder / f"{name}.jpg", quality=90)
    clicks = []
    for thing, point in draw_street_clicks(town, pose, hits, 60, rng, KNOWN):
        fact = object_feature(town, thing, point, name, GSD_M)["properties"]
        own = {
            "object": f"{thing.kind}-{thing.number}",
            "point": fact["point_px"],
            "lat": fact["lat"],
            "lon": fact["lon"],
            "box": fact["box"],
        }
        clicks.append(own)
    lat, lon = town.to_lat_lon(pose.x, pose.y)
    heading_deg = (pose.heading_deg + grid_convergence_deg(town.crs, *town.to_crs(pose.x, pose.y))) % 360.0
    taken = f"2026-05-01T12:{group:02d}:{step:02d}"
    return {"name": name, "group": str(group), "taken": taken, "lat": lat, "lon": lon, "heading_deg": heading_deg, "clicks": clicks}


def _choose_clicks(town: Town, shots: list[Json]) -> None:
    """Leave each photo the click on what was clicked in the one before, else on what most photos of its group see."""
    before: str | None = None
    for number, shot in enumerate(shots):
        group = [other for other in shots if other["group"] == shot["group"]]
        seen = {click["object"]: sum(any(c["object"] == click["object"] for c in o["clicks"]) for o in group) for click in shot["clicks"]}
        often = {name: many for name, many in seen.items() if many >= SEEN_BY_FEW}
        chosen = (
            before if before in often and shots[number - 1]["group"] == shot["group"] else max(often, key=lambda k: often[k], default=None)
        )
        click = next((click for click in shot["clicks"] if click["object"] == chosen), None)
        shot.update({"point": None, "object": None} if click is None else {"point": click["point"], "object": click})
        before = chosen
    for shot in shots:
        del shot["clicks"]
