"""From a click to a box on the ground: the geometry with a model that finds red squares, the contract with the real one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossgeo.engine.feature_cache import FeatureCache
from crossgeo.engine.fine import Spot
from crossgeo.engine.locate import ObjectFinder, fill
from crossgeo.engine.photo import Photo
from crossgeo.engine.pose import DronePose, StreetPose
from crossgeo.engine.runtime.choose import RuntimeOptions, runtimes
from crossgeo.errors import UsageError
from crossgeo.geodesy import from_lat_lon
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.models.attengeo import PRESETS, AttenGeo
from crossgeo.models.object_network import ReferenceFeatures
from crossgeo.models.street_view import StreetObjectView
from crossgeo.models.views import ObjectView

STRIDE, SIDE_M = 16, 8.0
PRECISE = RuntimeOptions(runtime="torch", precision="fp32", batch=64)
WEST, NORTH, GSD_M = 363_000.0, 3_057_600.0, 0.5
RED_X, RED_Y = 363_160.0, 3_057_440.0  # centre of the red square


class RedFinder(nn.Module):
    """Answers with the box of what is red in the window; keeps count of its two halves."""

    def __init__(self, gain: float = 1.0, look_deg: float = 0.0) -> None:
        super().__init__()
        self.gain = gain
        told = {"window_px": 384, "photo_px": 256}
        self.config = SimpleNamespace(stride=STRIDE, name="red", look_deg=look_deg, anchors=((32.0, 32.0),), to_dict=lambda: told, **told)
        self.reference_channels = 3
        self.register_buffer("anchors", torch.tensor([[32.0, 32.0]]))
        self.windows: list[Tensor] = []
        self.sights: list[Tensor] = []
        self.clicks: list[tuple[Tensor, Tensor]] = []

    def encode_reference(self, windows: Tensor, sights: Tensor | None = None) -> ReferenceFeatures:
        self.windows.append(windows)
        self.sights.extend([] if sights is None else [sights])
        return ReferenceFeatures(windows.float() * self.gain)

    def encode_query(self, photos: Tensor, clicks: Tensor) -> Tensor:
        self.clicks.append((photos, clicks))
        return torch.zeros(len(photos), 1)

    def fuse(self, features: Tensor, query: Tensor) -> Tensor:
        assert len(features) == len(query)
        grid = (side // STRIDE for side in features.shape[-2:])
        raw = torch.full((len(features), 5, *grid), -9.0)
        for window, cells in zip(features / self.gain, raw, strict=True):
            red = (window[0] > 240) & (window[1] < 15)
            rows, columns = torch.nonzero(red, as_tuple=True)
            x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
            x, y = float(x0 + x1) / 2 / STRIDE, float(y0 + y1) / 2 / STRIDE
            cell = cells[:, int(y), int(x)]
            cell[0], cell[1] = torch.logit(torch.tensor([x % 1.0, y % 1.0]).clamp(1e-4, 1 - 1e-4))
            cell[2], cell[3] = math.log(float(x1 - x0) / 32.0), math.log(float(y1 - y0) / 32.0)
            cell[4] = 3.0
        return raw


@pytest.fixture(scope="module")
def red_index(tmp_path_factory: pytest.TempPathFactory, write_ortho: Any, make_describer: Any) -> Path:
    """A grey, grainy ground with one red square of 8 m."""
    folder = tmp_path_factory.mktemp("red")
    rgb = np.random.default_rng(0).integers(60, 140, (600, 600, 3), np.uint8)
    column, row = round((RED_X - WEST) / GSD_M), round((NORTH - RED_Y) / GSD_M)
    rgb[row - 8 : row + 8, column - 8 : column + 8] = (255, 0, 0)
    write_ortho(folder / "ortho.tif", rgb)
    describer = make_describer()
    options = BuildOptions(gsd_m=GSD_M, tile_px=96, jpeg_quality=100)
    build_index([folder / "ortho.tif"], folder / "red.geo", describer.tiles, describer.identity, options)
    return folder / "red.geo"


def finder(index: GeoIndex, model: Any, **more: Any) -> ObjectFinder:
    return ObjectFinder(index, model, ObjectView(photo_px=256, window_px=384, gsd_m=0.2), options=PRECISE, **more)


def spot(index: GeoIndex, heading: float, x: float, y: float) -> Spot:
    return Spot(index.segments[0], x, y, DronePose(heading, 65.0), 0.9, 3.0, 0)


@pytest.mark.parametrize("heading", [0.0, 70.0, 200.0])
def test_a_click_becomes_a_box_on_the_ground(red_index: Path, ground: Any, heading: float) -> None:
    x, y = RED_X - 14.0, RED_Y + 9.0
    photo = ground.photo(x, y, heading, 65.0)
    angle = math.radians(heading)
    east, north = RED_X - x, RED_Y - y  # of the square from the photo's centre; to the photo's right and forward:
    right, forward = east * math.cos(angle) - north * math.sin(angle), east * math.sin(angle) + north * math.cos(angle)
    click = (100.0 + right * 200 / 65.0, 75.0 - forward * 200 / 65.0)
    with GeoIndex.open(red_index) as index:
        model = RedFinder()
        found = finder(index, model).find(photo, click, spot(index, heading, x, y))
        assert found is not None
        crs = index.segments[0].crs
        east, north = from_lat_lon(crs, found.lat, found.lon)
        assert math.hypot(east - RED_X, north - RED_Y) < 0.6
        assert found.width_m == pytest.approx(SIDE_M, abs=0.8)
        assert found.height_m == pytest.approx(SIDE_M, abs=0.8)
        assert found.confidence == pytest.approx(1 / (1 + math.exp(-3.0)), abs=1e-4)
        corners = [from_lat_lon(crs, lat, lon) for lon, lat in found.polygon["coordinates"][0]]
        assert corners[0] == corners[-1]
        assert max(abs(e - RED_X) for e, _ in corners) == pytest.approx(SIDE_M / 2, abs=0.6)
        assert max(abs(n - RED_Y) for _, n in corners) == pytest.approx(SIDE_M / 2, abs=0.6)
        # The window was centred on the clicked ground, so the box is near its middle.
        assert abs((found.box_px[0] + found.box_px[2]) / 2 - 192) < 20
        assert model.clicks[0][1].tolist() == [[128.0, 128.0]] * 8  # the middle stays the middle however it is turned


def test_clicks_near_each_other_share_one_window(red_index: Path, ground: Any) -> None:
    photo = ground.photo(RED_X, RED_Y, 0.0, 65.0)
    with GeoIndex.open(red_index) as index:
        model = RedFinder()
        find = finder(index, model).find
        for click in ((100.0, 75.0), (101.0, 75.5), (99.5, 74.0)):
            find(photo, click, spot(index, 0.0, RED_X, RED_Y))
        assert (len(model.windows), len(model.clicks)) == (1, 3)
        find(photo, (140.0, 75.0), spot(index, 0.0, RED_X, RED_Y))
        assert len(model.windows) == 2


def test_clicks_asked_together_are_answered_as_one_by_one_in_one_pass(red_index: Path, ground: Any) -> None:
    photo = ground.photo(RED_X, RED_Y, 0.0, 65.0)
    clicks = [(100.0, 75.0), (140.0, 75.0), (100.0, 75.0), (101.0, 75.5)]
    with GeoIndex.open(red_index) as index:
        spots = [spot(index, 0.0, RED_X, RED_Y), spot(index, 20.0, RED_X + 3, RED_Y), spot(index, 0.0, RED_X + 900, RED_Y)]
        spots.append(spots[0])
        model = RedFinder()
        together = finder(index, model, photos_at_once=64).find_many(photo, clicks, spots)
        assert [[len(rows) for rows in model.windows], [len(photos) for photos, _ in model.clicks]] == [[16], [16, 8]]
        single = finder(index, RedFinder())
        assert together == [single.find(photo, click, at) for click, at in zip(clicks, spots, strict=True)]
        assert [found is None for found in together] == [False, False, True, False]
        with pytest.raises(ValueError, match="zip"):
            single.find_many(photo, clicks, spots[:2])


def test_many_clicks_go_through_the_network_some_at_a_time(red_index: Path, ground: Any) -> None:
    photo = ground.photo(RED_X, RED_Y, 0.0, 65.0)
    with GeoIndex.open(red_index) as index:
        model = RedFinder()
        found = finder(index, model, photos_at_once=35).find_many(photo, [(100.0, 75.0)] * 11, [spot(index, 0.0, RED_X, RED_Y)] * 11)
    assert [len(photos) for photos, _ in model.clicks] == [32, 32, 16, 8]
    assert len({repr(one) for one in found}) == 1


def test_a_gpu_is_given_the_turns_of_eight_clicks_in_one_pass(red_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RuntimeOptions] = []

    def on_cpu(halves: Any, options: RuntimeOptions, pictures: Any) -> Any:
        asked.append(options)
        return runtimes(halves, replace(options, device="cpu"), pictures)

    monkeypatch.setattr("crossgeo.engine.locate.runtimes", on_cpu)
    view, photo = ObjectView(photo_px=256, window_px=384, gsd_m=0.2), Photo.from_pixels(np.zeros((150, 200, 3), np.uint8), "grey")
    passes = {}
    with GeoIndex.open(red_index) as index:
        for device in ("cpu", "cuda:0"):
            model: Any = RedFinder()
            finding = ObjectFinder(index, model, view, replace(PRECISE, device=device, batch=16))
            finding.find_many(photo, [(100.0, 75.0)] * 9, [spot(index, 0.0, RED_X, RED_Y)] * 9)
            passes[device] = [len(photos) for photos, _ in model.clicks]
    assert passes == {"cpu": [8] * 9, "cuda:0": [64, 8]}
    assert [options.batch for options in asked] == [16, 64]


def test_many_windows_are_encoded_in_passes_of_bounded_memory(red_index: Path, ground: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossgeo.engine.locate.WINDOW_BYTES", 3 * 8 * 3 * 384**2)  # three windows
    with GeoIndex.open(red_index) as index:
        model = RedFinder()
        assert [*finder(index, model).warm([(index.segments[0], RED_X + 2.0 * n, RED_Y) for n in range(4)])] == [3, 4]
    assert [len(rows) for rows in model.windows] == [16, 8, 8]  # three and one, in powers of two


def test_the_next_process_finds_the_features_and_answers_alike(red_index: Path, ground: Any, tmp_path: Path) -> None:
    photo, click = ground.photo(RED_X, RED_Y, 0.0, 65.0), (100.0, 75.0)
    with GeoIndex.open(red_index) as index:
        answers = []
        for digest, windows in (("a", 1), ("a", 0), ("b", 1)):  # other weights make other features
            model: Any = RedFinder()
            cache = FeatureCache(folder=tmp_path)
            view = ObjectView(photo_px=256, window_px=384, gsd_m=0.2)
            shared = ObjectFinder(index, model, view, PRECISE, features=cache, weights_sha256=digest)
            answers.append(shared.find(photo, click, spot(index, 0.0, RED_X, RED_Y)))
            assert len(model.windows) == windows
            assert (cache.stats().disk_hits, cache.stats().misses) == (1 - windows, windows)
            cache.close()
    assert answers[0] == answers[1] == answers[2] and answers[0] is not None


def test_a_second_click_moves_nothing_but_the_query_and_is_answered_alike(red_index: Path, ground: Any) -> None:
    photo, click = ground.photo(RED_X, RED_Y, 0.0, 65.0), (100.0, 75.0)
    with GeoIndex.open(red_index) as index:
        plain = finder(index, RedFinder()).find(photo, click, spot(index, 0.0, RED_X, RED_Y))
        cache = FeatureCache(0, device_bytes=64 << 20)
        model = RedFinder()
        found = finder(index, model, features=cache, weights_sha256="a")
        answers = [found.find(photo, click, spot(index, 0.0, RED_X, RED_Y)) for _ in range(2)]
        ahead = found.over(index)  # as a service does that goes on with another generation of the index
        answers.append(ahead.find(photo, click, spot(index, 0.0, RED_X, RED_Y)))
    assert answers == [plain] * 3 and plain is not None
    assert len(model.windows) == 1
    assert (cache.stats().device_hits, cache.stats().hits, cache.stats().misses) == (2, 2, 1)


def test_a_single_look_answers_with_its_most_confident_box(red_index: Path, ground: Any) -> None:
    class Doubtful(RedFinder):
        """Also sees a lesser box, overlapping, which fusing would lean towards."""

        def fuse(self, features: Tensor, query: Tensor) -> Tensor:
            raw = super().fuse(features, query)
            for cells in raw:
                row, column = divmod(int(cells[4].argmax()), cells.shape[-1])
                cells[:4, row, column + 1], cells[4, row, column + 1] = cells[:4, row, column], 2.9
            return raw

    photo = ground.photo(RED_X, RED_Y, 0.0, 65.0)
    boxes = []
    with GeoIndex.open(red_index) as index:
        for model in (RedFinder(), Doubtful()):
            for turn in (0, 5):
                one = finder(index, model, turns=[turn]).find(photo, (100.0, 75.0), spot(index, 0.0, RED_X, RED_Y))
                assert one is not None and one.confidence == pytest.approx(1 / (1 + math.exp(-3.0)))
                boxes.append(one.box_px)
        both = finder(index, Doubtful(), turns=[0, 5]).find(photo, (100.0, 75.0), spot(index, 0.0, RED_X, RED_Y))
    assert both is not None
    assert all(box == pytest.approx(boxes[0], abs=1e-3) for box in boxes)
    assert abs(both.box_px[0] - boxes[0][0]) > 1.0


def test_a_cache_that_others_use_wants_the_weights_digest(red_index: Path) -> None:
    with GeoIndex.open(red_index) as index:
        model: Any = RedFinder()
        with pytest.raises(ValueError, match="digest"):
            ObjectFinder(index, model, ObjectView(), features=FeatureCache())


def test_features_past_float16_are_used_but_not_kept(red_index: Path, ground: Any) -> None:
    photo = ground.photo(RED_X, RED_Y, 0.0, 65.0)
    with GeoIndex.open(red_index) as index:
        model = RedFinder(gain=1000.0)
        large = finder(index, model)
        for _ in range(2):
            assert large.find(photo, (100.0, 75.0), spot(index, 0.0, RED_X, RED_Y)) is not None
    assert len(model.windows) == 2
    assert large.features.stats().memory_bytes == 0


def test_warmed_windows_are_there_at_the_first_click(red_index: Path, ground: Any) -> None:
    photo = ground.photo(RED_X, RED_Y, 0.0, 65.0)
    with GeoIndex.open(red_index) as index:
        model = RedFinder()
        warmed = finder(index, model)
        places = [(index.segments[0], RED_X, RED_Y), (index.segments[0], RED_X + 0.3, RED_Y)]
        assert [*warmed.warm(places)] == [1] and warmed.kept(places) == [False, False]  # in memory alone
        assert len(model.windows) == 1
        assert warmed.find(photo, (100.0, 75.0), spot(index, 0.0, RED_X, RED_Y)) is not None
        assert len(model.windows) == 1
        street: Any = RedFinder()
        with pytest.raises(ValueError, match="lines of sight"):
            next(ObjectFinder(index, street, StreetObjectView(), PRECISE).warm([(index.segments[0], RED_X, RED_Y)]))


def test_fewer_turns_may_be_looked_at(red_index: Path, ground: Any) -> None:
    photo = ground.photo(RED_X, RED_Y, 0.0, 65.0)
    with GeoIndex.open(red_index) as index:
        model: Any = RedFinder()
        one = ObjectFinder(index, model, ObjectView(photo_px=256, window_px=384, gsd_m=0.2), PRECISE, turns=[0])
        found = one.find(photo, (100.0, 75.0), spot(index, 0.0, RED_X, RED_Y))
        every = finder(index, RedFinder()).find(photo, (100.0, 75.0), spot(index, 0.0, RED_X, RED_Y))
    assert len(model.windows[0]) == 1 and found is not None and every is not None
    assert (found.lat, found.lon) == pytest.approx((every.lat, every.lon), abs=1e-6)


def test_a_click_beyond_the_imagery_finds_nothing(red_index: Path, ground: Any) -> None:
    with GeoIndex.open(red_index) as index:
        find = finder(index, RedFinder()).find
        assert find(ground.photo(RED_X, RED_Y, 0.0, 65.0), (100.0, 75.0), spot(index, 0.0, RED_X + 900, RED_Y)) is None


def test_a_click_on_the_sky_is_refused(red_index: Path, ground: Any) -> None:
    with GeoIndex.open(red_index) as index:
        flat = Spot(index.segments[0], RED_X, RED_Y, DronePose(0.0, 65.0, 60.0, 90.0), 0.9, 3.0, 0)
        with pytest.raises(UsageError, match="sky"):
            finder(index, RedFinder()).find(ground.photo(RED_X, RED_Y, 0.0, 65.0), (100.0, 0.0), flat)


def test_the_real_model_answers_inside_its_window(red_index: Path, ground: Any) -> None:
    config = PRESETS["attengeo-s"]
    torch.manual_seed(0)
    view = ObjectView(config.photo_px, config.window_px, config.window_gsd_m)
    with GeoIndex.open(red_index) as index:
        finding = ObjectFinder(index, AttenGeo(config), view, photos_at_once=16)
        found = finding.find(ground.photo(RED_X, RED_Y, 0.0, 65.0), (100.0, 75.0), spot(index, 0.0, RED_X, RED_Y))
        clicks, at = [(100.0, 75.0), (60.0, 40.0)], [spot(index, heading, RED_X, RED_Y) for heading in (0.0, 30.0)]
        photo = ground.photo(RED_X, RED_Y, 0.0, 65.0)
        for together, alone in zip(finding.find_many(photo, clicks, at), map(finding.find, [photo] * 2, clicks, at), strict=True):
            assert together is not None and alone is not None
            assert together.confidence == pytest.approx(alone.confidence, rel=0.02)  # bfloat16, in batches of other sizes
    assert found is not None
    x0, y0, x1, y1 = found.box_px
    assert 0 <= x0 < x1 <= config.window_px
    assert 0 <= y0 < y1 <= config.window_px
    assert 0 < found.confidence < 1


def test_the_reach_is_that_of_the_view(red_index: Path) -> None:
    with GeoIndex.open(red_index) as index:
        assert finder(index, RedFinder()).reach_m == math.inf
        ahead: Any = RedFinder()
        assert ObjectFinder(index, ahead, StreetObjectView(window_px=256, ahead_m=24.0), options=PRECISE).reach_m == 52.0


def test_a_street_click_shows_its_line_of_sight_in_every_turn_of_the_window(red_index: Path) -> None:
    view = StreetObjectView(photo_px=160, window_px=384, gsd_m=0.2)
    photo = Photo.from_pixels(np.random.default_rng(1).integers(0, 255, (512, 1024, 3), np.uint8), "street")
    with GeoIndex.open(red_index) as index:
        model: Any = RedFinder()
        standing = Spot(index.segments[0], RED_X - 25.0, RED_Y + 0.4, StreetPose(0.0, 2.0, "panorama", 360.0), 0.9, 3.0, 0)
        found = ObjectFinder(index, model, view, options=PRECISE).find(photo, (768.0, 200.0), standing)  # eastwards, above the horizon
        assert found is not None
        east, north = from_lat_lon(index.segments[0].crs, found.lat, found.lon)
    assert math.hypot(east - RED_X, north - RED_Y) < 0.6
    for window, (x0, y0, x1, y1) in zip(model.windows[0], model.sights[0], strict=True):
        red_y, red_x = (float(v.float().mean()) + 0.5 for v in torch.nonzero((window[0] > 240) & (window[1] < 15), as_tuple=True))
        share = ((red_x - x0) * (x1 - x0) + (red_y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2)
        assert float(share) == pytest.approx(25.0 / view.reach_m, abs=0.03)  # the square lies 25 m along the line
        assert float(abs((red_x - x0) * (y1 - y0) - (red_y - y0) * (x1 - x0)) / math.hypot(x1 - x0, y1 - y0)) < 4.0
    photos, clicks = model.clicks[0]
    assert torch.equal(photos[1], photos[0]) and torch.equal(photos[5], photos[0].flip(-1))  # mirrored with the window, never turned
    assert clicks.tolist() == [[80.0, pytest.approx(float(clicks[0, 1]))]] * 8


def test_unseen_pixels_take_the_mean_colour() -> None:
    image = np.full((2, 2, 3), 9, np.uint8)
    out = fill(image, np.array([[True, False], [False, True]]), (0.5, 0.25, 1.0))
    assert out[0, 0].tolist() == [9, 9, 9]
    assert out[0, 1].tolist() == [128, 64, 255]
