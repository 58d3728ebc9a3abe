"""training/city.py: photos of a city become pairs, whole streets are held out, and answers there are counted in metres."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor, nn

from crossgeo.engine.levelling import Level
from crossgeo.errors import InputError
from crossgeo.models.street_view import StreetView
from crossgeo.training.city import City, city_source, grid_figures, levelled, read_city
from crossgeo.training.pair_input import PairInput

AS_INPUT = PairInput(StreetView(size_px=32))


class Colours(nn.Module):
    """Describes a canvas by the mean colours of its hundred parts, without any training."""

    def __init__(self, blind: bool = False) -> None:
        super().__init__()
        self.blind = blind

    def forward(self, images: Tensor) -> Tensor:
        parts = nn.functional.adaptive_avg_pool2d(images, 10).flatten(1)
        return nn.functional.normalize(torch.ones_like(parts) if self.blind else parts, dim=1)


@pytest.fixture(scope="module")
def city(street_city: Any) -> City:
    return read_city(street_city.photos, [street_city.ortho], 60.0, seed=1)


def test_held_out_photos_share_no_ground_with_training_and_every_photo_is_accounted_for(city: City) -> None:
    assert len(city.train) + len(city.held_out) + len(city.left_out) == 32
    train, held = (np.array([pair.xy for pair in part]) for part in (city.train, city.held_out))
    assert len(held) == 16 and len(set(held[:, 1].round())) == 1  # one of the two streets
    assert (np.abs(train[:, None] - held[None]).max(axis=2) > 59.9).all()
    assert {reason for _, reason in city.left_out} <= {"its aerial overlaps held-out ground"}


def test_a_photo_that_comes_twice_is_taken_once_and_one_that_is_damaged_not_at_all(street_city: Any, tmp_path: Path) -> None:
    photos = shutil.copytree(street_city.photos, tmp_path / "photos")
    shutil.copy(photos / "p07.jpg", photos / "q.jpg")
    whole = (photos / "p03.jpg").read_bytes()
    (photos / "p03.jpg").write_bytes(whole[: len(whole) // 2])
    left_out = dict(read_city(photos, [street_city.ortho], 60.0, seed=1).left_out)
    assert left_out["q.jpg"] == "repeats p07.jpg" and "damaged" in left_out["p03.jpg"]


def test_photos_with_headings_against_magnetic_north_are_left_out_and_it_is_said_why(street_city: Any, tmp_path: Path) -> None:
    photos = shutil.copytree(street_city.photos, tmp_path / "photos")
    for name, gps in (("p03", {16: "M", 17: 80.0}), ("p04", {})):
        with PIL.Image.open(photos / f"{name}.jpg") as photo:
            exif = photo.getexif()
            exif.get_ifd(0x8825).update(gps)
            photo.save(photos / f"{name}.jpg", exif=exif)  # without the heading that stood in its XMP
    left_out = dict(read_city(photos, [street_city.ortho], 60.0, seed=1).left_out)
    assert "magnetic north" in left_out["p03.jpg"] and left_out["p04.jpg"] == "no heading in its EXIF"


def test_lenses_are_levelled_where_it_can_be_measured(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    lens, panorama, blank = (replace(city.train.pairs[0], id=name, fov_deg=fov) for name, fov in (("l", 70.0), ("p", 360.0), ("b", 60.0)))
    monkeypatch.setattr("crossgeo.training.city.level_of", lambda photo, fov: Level(4.0, -1.0) if fov == 70.0 else None)
    found = levelled(replace(city.train, pairs=(lens, panorama, blank)))
    assert [pair.tilt_deg for pair in found] == [(4.0, -1.0), (0.0, 0.0), (0.0, 0.0)]


def test_photos_that_show_the_ground_are_found_on_the_grid(city: City) -> None:
    figures = grid_figures(Colours(), Colours(), AS_INPUT, city)  # type: ignore[arg-type]
    assert figures["within_25_m"].value > 0.8
    assert figures["median_m"].value < 12.0
    assert figures["within_25_m"].count == len(city.held_out)


def test_a_model_that_describes_everything_alike_finds_nothing(city: City) -> None:
    figures = grid_figures(Colours(blind=True), Colours(blind=True), AS_INPUT, city)  # type: ignore[arg-type]
    assert (figures["within_25_m"].value, figures["median_m"].value) == (0.0, np.inf)


def test_batches_of_a_city_know_their_metres_and_offsets(city: City) -> None:
    source = city_source(city, AS_INPUT, 6, seed=0)
    batch = source.batch_of(0)
    away = batch.distance_m.diagonal()
    assert (away > 0.1).any() and (away < 25.0).all()
    np.testing.assert_allclose(np.linalg.norm(batch.offset_m[np.arange(6), np.arange(6)], axis=1), away, atol=1e-3)
    assert np.isinf(batch.offset_m[0, 1]).all()
    assert batch.for_maps(60.0).ignore.sum() >= batch.ignore.sum()


def test_a_photo_and_its_tile_show_the_same_ground_at_the_offset_that_the_batch_says(city: City) -> None:
    source = city_source(city, AS_INPUT, 8, seed=0)
    source.how = replace(source.how, photo_change=0.0)
    batch = source.batch_of(3)
    step_m = 60.0 / 32
    for k in range(8):
        east, north = batch.offset_m[k, k] / step_m
        columns = np.arange(32) + 0.5
        u, v = np.meshgrid(columns + east, columns - north)
        inside = (u > 0.5) & (u < 31.5) & (v > 0.5) & (v < 31.5) & batch.masks[k]
        there = batch.tiles[k][v.astype(int).clip(0, 31), u.astype(int).clip(0, 31)]
        grey, below = batch.views[k][inside].mean(axis=1), there[inside].mean(axis=1)
        assert np.corrcoef(grey, below)[0, 1] > 0.6


def test_a_city_without_headings_or_with_one_street_is_refused(street_city: Any, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    with PIL.Image.open(street_city.photos / "p00.jpg") as photo:
        photo.save(photos / "a.jpg", exif=photo.getexif())
    with pytest.raises(InputError, match=r"none of the photos says where it looked .*a\.jpg: no heading in its EXIF"):
        read_city(photos, [street_city.ortho], 60.0)
    (photos / "a.jpg").write_bytes((street_city.photos / "p00.jpg").read_bytes())
    with pytest.raises(InputError, match=r"of one street.*more streets"):
        read_city(photos, [street_city.ortho], 60.0)
