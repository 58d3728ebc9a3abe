"""training/street.py: what a camera in a scenery sees lies on its canvas where the tile shows it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from crossgeo.models.street_view import StreetObjectView
from crossgeo.models.views import DroneView
from crossgeo.training.grounds import Ground, make_ground
from crossgeo.training.objects import make_batch
from crossgeo.training.render import World, render_tile
from crossgeo.training.sampling import SiteSampler, SiteSampling
from crossgeo.training.street import PanoramaCameras, StreetCameras, StreetErrors, Thing, through_photo
from crossgeo.training.street_objects import StreetObjectSampler

GSD_M = 0.25
EXACT = StreetErrors(height_error=0.0, heading_error_deg=0.0, tilt_error_deg=0.0, panorama_share=1.0, coarse_share=0.0)


@dataclass(frozen=True)
class Flat:
    """A painted plane to stand on."""

    ground: Ground
    places_m: np.ndarray

    things: tuple[Thing, ...] = ()

    def hit(self, origin_m: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Walls without end stand on the things: the nearest that a ray passes over within 40 m."""
        found = np.full(len(directions), -1, np.int32)
        run = np.linalg.norm(directions[:, :2], axis=1)
        level = directions[:, :2] / run[:, None]
        ground_m = np.where(directions[:, 2] < 0.0, origin_m[2] * run / np.maximum(-directions[:, 2], 1e-9), np.inf)
        for away in np.arange(40.0, 0.0, -0.5):
            at = origin_m[:2] + level * away
            x, y = at[:, 0] / GSD_M, self.ground.usable.shape[0] - at[:, 1] / GSD_M
            for number, thing in enumerate(self.things):
                low, high = thing.outline.min(axis=0), thing.outline.max(axis=0)
                found[(away <= ground_m) & (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])] = number
        return found

    def look(self, origin_m: np.ndarray, directions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        below = directions[..., 2] < -1e-3
        directions = np.where(below[..., None], directions, (0.0, 0.0, -1.0))
        at = origin_m[:2] + directions[..., :2] * (-origin_m[2] / directions[..., 2:])
        rows, columns = self.ground.usable.shape
        x = np.clip(at[..., 0] / GSD_M, 0, columns - 1).astype(int)
        y = np.clip(rows - at[..., 1] / GSD_M, 0, rows - 1).astype(int)
        return np.where(below[..., None], self.ground.scenes[0][y, x], np.uint8(255))


def flat() -> Flat:
    """A plane with soft blotches of 8 m, standing room in its middle."""
    rng = np.random.default_rng(3)
    paint = rng.integers(30, 226, (30, 30, 3)).astype(np.uint8).repeat(32, axis=0).repeat(32, axis=1)  # 240 m
    ground = make_ground("plane", [paint], np.ones(paint.shape[:2], np.bool_), GSD_M, [], real=False)
    return Flat(ground, np.array([[100.0, 90.0], [120.0, 130.0], [2.0, 120.0]]))


def test_a_canvas_shows_what_the_tile_at_its_middle_shows() -> None:
    scenery, view = flat(), DroneView()
    cameras = StreetCameras([scenery], EXACT)
    for turn_deg, mirror in ((0.0, False), (70.0, False), (200.0, True)):
        world = World(scenery.ground, 0, 0, turn_deg, mirror)
        site = cameras.sites(scenery.ground, view)[0]
        likeness = []
        for seed in range(4):
            canvas, mask, ahead = cameras.shoot(world, (float(site[0]), float(site[1])), view, np.random.default_rng(seed))
            assert mask.all() and ahead == (0.0, 0.0)
            tile = render_tile(world, (float(site[0]), float(site[1])), view.extent_m, view.size_px)
            inner = (slice(40, 120), slice(40, 120))
            likeness.append(np.corrcoef(canvas[inner].reshape(-1), tile[inner].reshape(-1))[0, 1])
        assert np.median(likeness) > 0.85


def test_cameras_stand_only_where_a_canvas_has_room() -> None:
    scenery = flat()
    assert StreetCameras([scenery]).sites(scenery.ground, DroneView()).tolist() == [[400.0, 600.0], [480.0, 440.0]]


def test_a_narrow_photo_is_centred_ahead_and_masked() -> None:
    scenery, view = flat(), DroneView()
    cameras = StreetCameras([scenery], StreetErrors(panorama_share=0.0))
    canvas, mask, ahead = cameras.shoot(World(scenery.ground, 0, 0, 0.0, False), (480.0, 480.0), view, np.random.default_rng(1))
    assert abs(np.hypot(*ahead) - 12.0) < 1e-6 and 0.05 < mask.mean() < 0.9
    assert not canvas[~mask].any()


def test_batches_of_street_photos_say_where_their_middle_lies() -> None:
    scenery = flat()
    sampler = SiteSampler([scenery.ground], DroneView(size_px=64), StreetCameras([scenery], EXACT), SiteSampling(groups=1, sites=2))
    sampler.centres[0] = sampler.centres[0].repeat(2, axis=0)
    batch = sampler.batch(np.random.default_rng(2))
    assert batch.views.shape == (2, 64, 64, 3) and np.isfinite(batch.offset_m).all()
    assert np.allclose(np.linalg.norm(batch.offset_m, axis=2), batch.distance_m, atol=1e-3)


def test_a_coarse_photo_blurs_far_ground_more_than_near() -> None:
    rng = np.random.default_rng(5)
    canvas = (rng.integers(0, 2, (160, 160, 1)) * 200).astype(np.uint8).repeat(3, axis=2)
    kept = [through_photo(canvas, 60.0, (0.0, 0.0), 2.0, 300.0, 1.0, np.random.default_rng(seed)) for seed in range(6)]
    near = np.mean([image[70:90, 70:90].std() for image in kept])
    far = np.mean([image[:20].std() for image in kept])
    assert far < 0.75 * near


@pytest.mark.parametrize("ahead_m", [0.0, 12.0])
def test_the_line_of_a_click_leads_over_the_box_it_is_about(ahead_m: float) -> None:
    house = np.array([[440.0, 400.0], [470.0, 400.0], [470.0, 440.0], [440.0, 440.0]], np.float32)
    tree = np.array([[520.0, 500.0], [532.0, 500.0], [532.0, 512.0], [520.0, 512.0]], np.float32)
    scenery = Flat(flat().ground, flat().places_m, (Thing("building", house), Thing("tree", tree)))
    view = StreetObjectView(window_px=256, ahead_m=ahead_m)
    exact = StreetErrors(height_error=0.0, heading_error_deg=0.0, tilt_error_deg=0.0)
    draw = StreetObjectSampler([scenery], view, {"building": 0.5, "tree": 0.5}, exact, place_error_m=0.0)
    rng, sizes = np.random.default_rng(4), set()
    for _ in range(12):
        sample = draw(rng)
        assert sample.sight_px is not None
        x0, y0, x1, y1 = sample.sight_px
        along = np.linspace(0.0, 1.0, 400)[:, None] * (x1 - x0, y1 - y0) + (x0, y0)
        inside = (along >= sample.box[:2] - 1.5).all(axis=1) & (along <= sample.box[2:] + 1.5).all(axis=1)
        assert inside.any() and math.hypot(x0 - 128.0, y0 - 128.0) == pytest.approx(ahead_m / view.gsd_m, abs=1e-6)
        sizes.add(round(float(np.prod(sample.box[2:] - sample.box[:2]) / 40.0)))
    assert len(sizes) > 1  # both kinds are clicked


def test_clicks_on_nothing_hit_no_thing_or_one_out_of_reach_and_have_no_box(monkeypatch: pytest.MonkeyPatch) -> None:
    near = np.array([[440.0, 400.0], [470.0, 400.0], [470.0, 440.0], [440.0, 440.0]], np.float32)
    far = near + np.float32(300.0)
    scenery = Flat(flat().ground, flat().places_m, (Thing("building", near), Thing("building", far)))
    view = StreetObjectView()
    sampler = StreetObjectSampler([scenery], view, {"building": 1.0}, place_error_m=0.0, nothing_share=0.5)
    rng = np.random.default_rng(3)
    clicked: list[tuple[int, bool]] = []  # what each click meets, and whether it is said to be nothing
    sample = sampler._sample

    def noted(shot: Any, thing: Any, direction: Any, rng: Any) -> Any:
        clicked.append((int(scenery.hit(shot.origin_m, shot.rays(direction[None]))[0]), thing is None))
        return sample(shot, thing, direction, rng)

    monkeypatch.setattr(sampler, "_sample", noted)
    samples = [sampler(rng) for _ in range(24)]
    assert all((met < 0 or met == 1) if nothing else met == 0 for met, nothing in clicked)
    empty = [bool(np.isnan(sample.box).any()) for sample in samples]
    assert 4 <= sum(empty) <= 20
    for sample, nothing in zip(samples, empty, strict=True):
        assert np.isnan(sample.box).all() == nothing
    batch = make_batch(samples, view)
    assert batch.boxes.isnan().any(dim=1).tolist() == empty
    world = World(scenery.ground, 0, 0, 0.0, False)
    assert not sampler._beyond(world, (480.0, 440.0), scenery.things[0])
    assert sampler._beyond(world, (480.0, 440.0), Thing("building", near + np.float32(view.reach_m / scenery.ground.gsd_m + 60.0)))


def test_things_of_no_wanted_kind_are_not_clicked() -> None:
    house = np.array([[440.0, 400.0], [470.0, 400.0], [470.0, 440.0], [440.0, 440.0]], np.float32)
    scenery = Flat(flat().ground, flat().places_m, (Thing("building", house),))
    sampler = StreetObjectSampler([scenery], StreetObjectView(), {"tree": 1.0})
    assert sampler._click(scenery, (480.0, 440.0), np.random.default_rng(1)) is None


def test_the_same_photo_lies_on_a_panorama_with_north_in_its_middle() -> None:
    scenery, view = flat(), DroneView()
    cameras = PanoramaCameras(StreetCameras([scenery], EXACT), (64, 256))
    canvas, mask, ahead = cameras.shoot(World(scenery.ground, 0, 0, 0.0, False), (480.0, 480.0), view, np.random.default_rng(1))
    assert canvas.shape == (64, 256, 3) and mask.all() and ahead == (0.0, 0.0)
    assert canvas[:30].mean() > canvas[36:].mean() + 20.0  # sky above the horizon
    narrow = PanoramaCameras(StreetCameras([scenery], StreetErrors(panorama_share=0.0)), (64, 256))
    canvas, mask, _ = narrow.shoot(World(scenery.ground, 0, 0, 0.0, False), (480.0, 480.0), view, np.random.default_rng(1))
    assert 0.02 < mask.mean() < 0.3 and not canvas[~mask].any()
