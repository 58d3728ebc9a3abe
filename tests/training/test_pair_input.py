"""training/pair_input.py: canvases and tiles of pairs, and worlds that are turned on both sides alike."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crossgeo.models.panorama import PanoramaView
from crossgeo.models.street import StreetGeometry
from crossgeo.models.street_view import StreetView
from crossgeo.models.views import DroneView
from crossgeo.training.evaluation.shots import take_shot
from crossgeo.training.pair_input import PairInput, turned_offset
from crossgeo.training.pairs import Pair

POLAR = PanoramaView(ground_hw=(64, 128), aerial_hw=(64, 128), polar=True)


def pair(**changes: object) -> Pair:
    given = {
        "heading_deg": 0.0,
        "fov_deg": 360.0,
        "xy": (5e5, 4e6),
        "crs": "EPSG:32633",
        "aerial_gsd_m": 0.25,
        "aerial_centre_xy": (5e5, 4e6),
    }
    return Pair("p", Path("p.jpg"), Path("a.jpg"), "train", **{**given, **changes})  # type: ignore[arg-type]


def picture(height: int, width: int) -> NDArray[np.uint8]:
    small = np.random.default_rng(4).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


TURNS = [(quarters, mirrored) for quarters in range(4) for mirrored in (False, True)]


@pytest.mark.parametrize("turn", TURNS)
def test_a_panorama_turns_as_what_its_aerial_shows_from_the_middle(turn: tuple[int, bool]) -> None:
    aerial, view = picture(128, 128), PairInput(POLAR)
    seen = view.aerial(aerial, pair())  # what a panorama of flat ground would show
    wanted = view.aerial(view.turned_aerial(aerial, turn), pair()).astype(float)
    turned = {other: view.turned(seen, np.ones((64, 128), np.bool_), other)[0] for other in TURNS}
    away = {other: float(np.abs(canvas - wanted).mean()) for other, canvas in turned.items()}
    assert min(away, key=away.__getitem__) == turn
    assert away[turn] < 0.25 * min(away[other] for other in TURNS if other != turn)  # the published transform lies half a pixel off


def test_canvases_from_above_turn_as_their_aerials_do() -> None:
    seen, view = picture(32, 32), PairInput(DroneView(size_px=32))
    canvas, mask = view.turned(seen, seen[..., 0] > 99, (1, True))
    np.testing.assert_array_equal(canvas, np.rot90(seen[:, ::-1]))
    np.testing.assert_array_equal(canvas, view.turned_aerial(seen, (1, True)))
    np.testing.assert_array_equal(mask, canvas[..., 0] > 99)


def test_a_heading_turns_a_panorama_to_north() -> None:
    as_input, photo = PairInput(PanoramaView((64, 128), (64, 64))), picture(64, 128)
    canvas, mask, ahead = as_input.photo(photo, pair(heading_deg=90.0))
    assert mask.all() and ahead == (0.0, 0.0)
    np.testing.assert_array_equal(canvas, np.roll(photo, 32, axis=1))  # its middle column, which looks east, lies a quarter right of north


def test_a_limited_field_of_view_masks_the_rest() -> None:
    as_input, photo = PairInput(PanoramaView((64, 128), (64, 64))), picture(64, 128)
    canvas, mask, _ = as_input.photo(photo, pair(), fov_deg=90.0, towards_deg=180.0)
    assert mask[0].sum() == 32
    np.testing.assert_array_equal(canvas[mask], photo[mask])


def test_a_perspective_photo_is_rolled_out_ahead_of_its_camera_where_a_window_can_follow() -> None:
    as_input, photo = PairInput(StreetView()), picture(90, 120)
    *_, ahead = as_input.photo(photo, pair(heading_deg=90.0, fov_deg=70.0, window_m=60.0))
    assert ahead[0] > 5.0 and abs(ahead[1]) < 1.0
    *_, about = as_input.photo(photo, pair(heading_deg=90.0, fov_deg=70.0))
    assert about == (0.0, 0.0)


def test_a_tilted_lens_is_levelled_before_its_photo_is_rolled_out() -> None:
    view, photo, tilted = StreetView(), picture(90, 120), pair(heading_deg=90.0, fov_deg=70.0, tilt_deg=(6.0, 2.0))
    wanted = view.canvas(photo, StreetGeometry(120, 90, "perspective", 90.0, 70.0, 6.0, 2.0))
    for canvas, own in zip(PairInput(view).photo(photo, tilted)[:2], wanted, strict=True):
        np.testing.assert_array_equal(canvas, own)
    cut = take_shot(photo, 70.0, 40.0, 0.0, tilt_deg=(6.0, 2.0)).geometry(90.0)
    assert (cut.pitch_deg, cut.roll_deg, cut.hfov_deg) == (6.0, 2.0, 40.0)  # the middle keeps the axis
    assert take_shot(photo, 360.0, 360.0, 0.0, tilt_deg=(6.0, 2.0)).geometry(0.0).pitch_deg == 0.0


def test_a_cropped_panorama_lies_on_the_ground_where_the_whole_one_does() -> None:
    as_input, photo = PairInput(StreetView(size_px=64)), picture(256, 512)
    whole, _, _ = as_input.photo(photo, pair())
    band, mask, _ = as_input.photo(np.ascontiguousarray(photo[112:208]), pair(horizon=16 / 96))
    assert 0.5 < mask.mean() < 1.0  # the ground at one's feet is cut off
    assert np.abs(band.astype(float) - whole)[mask].mean() < 1.0
    wrong, shown, _ = as_input.photo(np.ascontiguousarray(photo[112:208]), pair())
    assert np.abs(wrong.astype(float) - whole)[shown].mean() > 10.0


def test_black_is_no_imagery_on_the_ground_and_dark_in_the_papers_view() -> None:
    tiles = np.zeros((1, 160, 160, 3), np.uint8)
    assert not PairInput(StreetView()).normalise_tiles(tiles).any()
    assert (PairInput(PanoramaView()).normalise_tiles(tiles) < -1.0).all()


@pytest.mark.parametrize("turn", TURNS)
def test_an_offset_turns_with_its_world(turn: tuple[int, bool]) -> None:
    aerial = np.zeros((41, 41, 3), np.uint8)
    aerial[20 - 12, 20 + 5] = 255  # 5 east, 12 north of the middle
    row, column = np.argwhere(PairInput(DroneView()).turned_aerial(aerial, turn)[..., 0])[0]
    assert turned_offset((5.0, 12.0), turn) == (column - 20, 20 - row)
