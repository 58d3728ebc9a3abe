"""models/panorama.py: what the paper's presets are fed, pinned."""

import json

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossgeo.errors import InputError
from crossgeo.models.egotr import PRESETS, EgoTR
from crossgeo.models.panorama import PanoramaView, sphere_directions
from crossgeo.models.street import StreetGeometry, pixels_to_directions


def _noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _triangle(source: int, target: int) -> NDArray[np.float64]:
    """The (target, source) weights of a bilinear filter that widens by the ratio when it shrinks."""
    scale = max(source / target, 1.0)
    centres = (np.arange(target) + 0.5) * source / target
    weights = np.clip(1 - np.abs(np.arange(source) + 0.5 - centres[:, None]) / scale, 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True))


@pytest.mark.parametrize(("height", "width"), [(224, 1232), (97, 401), (256, 1024)])
def test_a_panorama_is_resized_by_a_widened_triangle_filter(height: int, width: int) -> None:
    photo = _noise(height, width)
    given, _ = PanoramaView().canvas(photo, StreetGeometry(width, height, "panorama", 0.0, 360.0))
    expected = np.einsum("rh,cw,hwk->rck", _triangle(height, 128), _triangle(width, 512), photo.astype(np.float64), optimize=True)
    assert given.shape == (128, 512, 3) and given.dtype == np.uint8
    assert np.abs(given - expected).max() <= 1.5


def test_a_tile_is_resized_unless_the_view_is_polar() -> None:
    tile = _noise(300, 300)
    expected = np.einsum("rh,cw,hwk->rck", _triangle(300, 256), _triangle(300, 256), tile.astype(np.float64), optimize=True)
    assert np.abs(PanoramaView().aerial_input(tile) - expected).max() <= 1.5


def test_the_polar_flag_unrolls_the_tile_around_its_centre() -> None:
    view = PanoramaView(aerial_hw=(32, 128), polar=True)
    tile = np.zeros((64, 64, 3), np.uint8)
    tile[:24] = (255, 0, 0)  # the north
    tile[:, 40:, 1] = 255  # the east
    unrolled = view.aerial_input(tile)
    assert unrolled.shape == (32, 128, 3) and unrolled.dtype == np.uint8
    assert unrolled[2, 64].tolist() == [255, 0, 0]  # the middle column looks north
    assert unrolled[2, 96].tolist() == [0, 255, 0]  # three quarters: east
    assert not unrolled[2, 0].any() and not unrolled[2, 32].any()  # south and west
    assert not unrolled[-1].any()  # the centre


def test_polar_values_are_rounded_to_the_nearest_grey_level() -> None:
    tile = _noise(51, 51)
    unrolled = PanoramaView(aerial_hw=(16, 64), polar=True).aerial_input(tile)
    i, j = 5, 11
    row = 25.5 + 25.5 / 16 * (16 - 1 - i) * np.cos(2 * np.pi * j / 64)
    column = 25.5 - 25.5 / 16 * (16 - 1 - i) * np.sin(2 * np.pi * j / 64)
    y, x = int(row), int(column)
    b, a = row - y, column - x
    p = tile.astype(np.float64)
    expected = (1 - b) * ((1 - a) * p[y, x] + a * p[y, x + 1]) + b * ((1 - a) * p[y + 1, x] + a * p[y + 1, x + 1])
    assert unrolled[i, j].tolist() == np.rint(expected).tolist()


def test_tiles_unrolled_where_they_lie_are_what_one_by_one_they_are_normalised_to() -> None:
    view = PanoramaView(aerial_hw=(16, 64), polar=True)
    tiles = np.stack([_noise(51, 51), _noise(51, 51)[::-1]])
    one_by_one = view.normalise(np.stack([view.aerial_input(tile) for tile in tiles]))
    torch.testing.assert_close(view.polar_inputs(torch.from_numpy(tiles)), one_by_one, atol=1e-6, rtol=0)
    assert view.polar_inputs(torch.from_numpy(tiles), torch.bfloat16).dtype == torch.bfloat16


def test_a_tile_that_is_not_square_is_refused() -> None:
    with pytest.raises(InputError, match="300 x 200 px; give a square one"):
        PanoramaView().aerial_input(np.zeros((200, 300, 3), np.uint8))
    with pytest.raises(InputError, match="300 x 200 px; give a square one"):
        PanoramaView(polar=True).polar_inputs(torch.zeros(1, 200, 300, 3, dtype=torch.uint8))


@pytest.mark.parametrize("preset", ["egotr-b", "polar-egotr-b"])
def test_the_presets_read_what_their_view_gives(preset: str) -> None:
    config = PRESETS[preset]
    view = PanoramaView.of(config)
    ground = view.normalise(view.canvas(_noise(224, 1232), StreetGeometry(1232, 224, "panorama", 0.0, 360.0))[0][None])
    aerial = view.normalise(view.aerial_input(_noise(750, 750))[None])
    with torch.device("meta"):
        model = EgoTR(config).eval()
    assert [tuple(d.shape) for d in model(ground.to("meta"), aerial.to("meta"))] == [(1, 768), (1, 768)]


def test_it_normalises_with_the_mean_and_deviation_of_imagenet() -> None:
    image = np.array([[[124, 116, 104]]], np.uint8)
    expected = [(124 / 255 - 0.485) / 0.229, (116 / 255 - 0.456) / 0.224, (104 / 255 - 0.406) / 0.225]
    assert PanoramaView().normalise(image[None])[0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_view_survives_its_card_and_the_polar_flag_changes_its_digest() -> None:
    plain, polar = (PanoramaView.of(PRESETS[name]) for name in ("egotr-b", "polar-egotr-b"))
    assert PanoramaView.from_dict(json.loads(json.dumps(polar.to_dict()))) == polar
    assert plain.digest != polar.digest != PanoramaView((128, 512), (128, 512)).digest


@pytest.mark.parametrize(("heading", "column"), [(0.0, 256), (90.0, 384), (180.0, 0), (270.0, 128)])
def test_the_middle_column_of_a_panorama_comes_to_lie_at_its_heading(heading: float, column: int) -> None:
    photo = np.zeros((128, 512, 3), np.uint8)
    photo[:, 256] = 255
    canvas, mask = PanoramaView().canvas(photo, StreetGeometry(512, 128, "panorama", heading))
    assert mask.all() and canvas[64].sum(axis=1).argmax() == column


def test_a_part_of_a_panorama_is_masked_where_it_does_not_look() -> None:
    canvas, mask = PanoramaView().canvas(np.full((90, 180, 3), 200, np.uint8), StreetGeometry(180, 90, "panorama", 90.0, 90.0))
    assert mask[0].nonzero()[0].tolist() == list(range(320, 448))  # 45 to 135 degrees
    assert (canvas[mask] == 200).all() and not canvas[~mask].any()


def test_a_photo_through_a_lens_lies_on_the_sphere_where_its_rays_go() -> None:
    geometry = StreetGeometry(400, 300, "perspective", 40.0, 80.0)
    columns, rows = np.meshgrid(np.arange(400) + 0.5, np.arange(300) + 0.5)
    photo = ((pixels_to_directions(geometry, columns, rows) + 1.0) * 127.0).astype(np.uint8)  # each pixel in the colour of its direction
    canvas, mask = PanoramaView().canvas(photo, geometry)
    expected = (sphere_directions(128, 512) + 1.0) * 127.0
    assert 0.05 < mask.mean() < 0.1
    assert np.abs(canvas[mask] - expected[mask]).max() < 4.0


def test_a_whole_sphere_is_cut_to_its_middle_half_as_cvact_was() -> None:
    view, photo = PanoramaView.of(PRESETS["egotr-b"]), _noise(832, 1664)
    given, mask = view.canvas(photo, StreetGeometry(1664, 832, "panorama", 0.0, 360.0))
    middle = photo[208 : 208 + 416].astype(np.float64)  # SAFA: from a quarter of 832 rows, half of them
    expected = np.einsum("rh,cw,hwk->rck", _triangle(416, 128), _triangle(1664, 512), middle, optimize=True)
    assert mask.all() and np.abs(given - expected).max() <= 1.5
    half = view.canvas(photo[:, 416:1248], StreetGeometry(832, 832, "panorama", 0.0, 180.0))[0]  # 180 degrees of it
    assert np.abs(half[:, 136:376].astype(float) - given[:, 136:376]).max() <= 1.0  # away from where its own edges are


@pytest.mark.parametrize(("height", "width"), [(224, 1232), (112, 616)])
def test_what_shows_less_is_not_cut(height: int, width: int) -> None:
    photo, geometry = _noise(height, width), StreetGeometry(width, height, "panorama", 0.0, 360.0)
    assert (PanoramaView.of(PRESETS["egotr-b"]).canvas(photo, geometry)[0] == PanoramaView().canvas(photo, geometry)[0]).all()


def test_a_cut_keeps_the_horizon_in_the_middle() -> None:
    photo = np.zeros((400, 800, 3), np.uint8)
    photo[160] = 255
    canvas, _ = PanoramaView.of(PRESETS["egotr-b"]).canvas(photo, StreetGeometry(800, 400, "panorama", 0.0, 360.0, horizon=0.4))
    assert canvas[:, 0].sum(axis=1).argmax() == 64


def test_a_photo_through_a_lens_stands_in_the_height_of_the_cut() -> None:
    geometry = StreetGeometry(400, 300, "perspective", 0.0, 80.0)
    columns, rows = np.meshgrid(np.arange(400) + 0.5, np.arange(300) + 0.5)
    photo = ((pixels_to_directions(geometry, columns, rows) + 1.0) * 127.0).astype(np.uint8)
    canvas, mask = PanoramaView.of(PRESETS["egotr-b"]).canvas(photo, geometry)
    up = (np.sin(np.radians((63.5 - np.arange(128)) / 128.0 * 90.0)) + 1.0) * 127.0  # of the middle columns
    seen = mask[:, 256]
    assert seen.any() and np.abs(canvas[seen, 256, 2] - up[seen]).max() < 4.0
