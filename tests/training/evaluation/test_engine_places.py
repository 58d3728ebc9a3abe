"""Photos of known places through an engine: what it is told, how its answers count, panoramas cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer, Place
from crossgeo.engine.pose import DronePose
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import InputError
from crossgeo.geodesy import distance_m
from crossgeo.training.evaluation.engine_places import PlacedPhoto, by_fov, cut_photo, read_truth
from crossgeo.training.evaluation.places_report import PlacesReport, evaluate_places

Quiet = Callable[[str, int, int], None]
DEGREE_M = 111_132.0


class Tiles:
    """An index of ten tiles in a row, 10 m apart, to the north of 0, 30."""

    path = Path("row.geo")
    lats = np.arange(10) * 10.0 / DEGREE_M

    def __len__(self) -> int:
        return 10

    def ids_near(self, lat: float, lon: float, radius_m: float) -> np.ndarray:
        return np.nonzero([distance_m(at, 30.0, lat, lon) <= radius_m for at in self.lats])[0]


@dataclass
class Engine:
    """Answers north of the truth and 3 degrees off where the heading is right or hidden, else far away; `tied` answers twice."""

    tied: bool = False
    north_m: float = 4.0
    index: Tiles = field(default_factory=Tiles)
    models: dict[str, dict[str, str]] = field(default_factory=lambda: {"drone": {"name": "made-up", "sha256": "0" * 64}})
    asked: list[tuple[Photo, float | None]] = field(default_factory=list)

    def query(self, photo: Photo, top: int, heading_deg: float | None) -> Answer:
        self.asked.append((photo, heading_deg))
        good = heading_deg is None or abs((heading_deg - 40.0 + 180.0) % 360.0 - 180.0) < 1.0
        best = Place((self.north_m if good else 900.0) / DEGREE_M, 30.0, 3.0, 43.0, 0.8, 1, DronePose(43.0, 60.0))
        other = Place(800.0 / DEGREE_M, 30.0, 3.0, 0.0, 0.8 if self.tied else 0.3, 2, DronePose(0.0, 60.0))
        return Answer(photo.name, "located", (best, other), None, 1, "made-up", {"total": 1.0})


def evaluate(engine: Engine | list[Engine], truths: Sequence[PlacedPhoto], quiet: Quiet, **how: Any) -> PlacesReport:
    engines = engine if isinstance(engine, list) else [engine]
    return evaluate_places(cast(list[GeoSearch], engines), truths, quiet, **how)  # which asks no more of a search than Engine has


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Two photos of 70 degrees, one of which has no heading, and a panorama whose columns say where they look."""
    (tmp_path / "photos").mkdir()
    columns = (np.arange(720) // 4).astype(np.uint8)
    panorama = np.repeat(np.repeat(columns[None, :, None], 3, axis=2), 360, axis=0)
    made = {"a.jpg": (np.zeros((60, 80, 3), np.uint8), 70.0, 40.0), "b.jpg": (np.zeros((60, 80, 3), np.uint8), 70.2, None)}
    made["p.png"] = (panorama, 360.0, 40.0)
    features = []
    for name, (pixels, fov, heading) in made.items():
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
        facts = {"file": name, "lat": 0.0, "lon": 30.0, "hfov_deg": fov, "heading_deg": heading}
        features.append({"type": "Feature", "geometry": None, "properties": facts})
    path = tmp_path / "truth.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_photos_are_grouped_by_their_own_field_of_view(truth: Path) -> None:
    groups = by_fov(read_truth(truth))
    assert {fov: [one.photo.name for one in group] for fov, group in groups.items()} == {360.0: ["p.png"], 70.0: ["a.jpg", "b.jpg"]}


def test_lenses_of_many_cameras_share_groups_named_by_the_middle_one() -> None:
    photos = [PlacedPhoto(Path(f"{fov}"), 0.0, 30.0, None, fov) for fov in (48.6, 96.0, 58.0, 62.0, 69.4, 46.0, None, 90.2, 180.0, 360.0)]
    groups = by_fov(photos)
    assert {name: [one.fov_deg for one in group] for name, group in groups.items()} == {
        360.0: [360.0],
        180.0: [180.0],
        96.0: [96.0, 90.2],
        62.0: [58.0, 62.0, 69.4],
        49.0: [48.6, 46.0],
        0.0: [None],
    }
    assert list(groups) == sorted(groups, reverse=True)


def test_cells_hold_metres_headings_statuses_and_controls(truth: Path, quiet: Quiet) -> None:
    report = evaluate(Engine(), read_truth(truth), quiet).to_json()
    cells = {(cell["fov_deg"], cell["heading"]): cell for cell in report["cells"]}
    assert set(cells) == {(360.0, "known"), (360.0, "unknown"), (70.0, "known"), (70.0, "unknown")}
    assert cells[70.0, "known"]["questions"] == 1  # the other photo's heading is not known
    unknown = cells[70.0, "unknown"]
    assert unknown["models"][0]["metres"]["within_5_m"]["value"] == 1.0
    assert unknown["models"][0]["metres"]["median_m"]["value"] == pytest.approx(4.0, rel=0.02)
    assert unknown["models"][0]["heading"]["median_deg"] == {
        "value": pytest.approx(3.0),
        "low": pytest.approx(3.0),
        "high": pytest.approx(3.0),
        "count": 1,
    }
    assert unknown["models"][0]["status"] == {"located": 2, "located_within_25_m": 2}
    known = cells[70.0, "known"]
    assert "heading" not in known["models"][0]  # it was given
    assert known["controls"]["heading shifted at random"]["metres"]["within_25_m"]["value"] == 0.0
    assert known["chance"]["metres"] == pytest.approx(
        {"within_1_m": 0.1, "within_5_m": 0.1, "within_25_m": 0.3, "within_50_m": 0.5}, abs=0.11
    )


def test_weights_of_several_seeds_have_figures_of_their_own_and_a_mean_with_students_interval(truth: Path, quiet: Quiet) -> None:
    engines = [Engine(north_m=north_m) for north_m in (2.0, 4.0, 30.0)]
    report = evaluate(engines, read_truth(truth), quiet, headings_known=(True,)).to_json()
    assert [model["sha256"] for model in report["models"]] == [{"drone": "0" * 64}] * 3
    for cell in report["cells"]:
        assert [own["metres"]["within_25_m"]["value"] for own in cell["models"]] == [1.0, 1.0, 0.0]
        mean = cell["over_seeds"]["metres"]["within_25_m"]
        half = 4.3027 * np.std([1.0, 1.0, 0.0], ddof=1) / np.sqrt(3)
        assert [mean["value"], mean["high"] - mean["value"], mean["count"]] == pytest.approx([2 / 3, half, 3], rel=1e-4)
        assert cell["over_seeds"]["metres"]["median_m"]["value"] == pytest.approx(12.0, rel=0.02)
    assert len(engines[0].asked) == 2 * len(engines[1].asked) == 2 * len(engines[2].asked)  # the control is of the first alone


def test_a_tied_best_place_is_no_place(truth: Path, quiet: Quiet) -> None:
    report = evaluate(Engine(tied=True), read_truth(truth), quiet, headings_known=(False,), controls=False).to_json()
    assert all("metres" not in cell["models"][0] for cell in report["cells"])


def test_the_engine_is_told_the_heading_of_the_cut_and_nothing_of_exif(truth: Path, quiet: Quiet) -> None:
    engine = Engine()
    evaluate(engine, read_truth(truth)[2:], quiet, fovs_deg=(180.0, 90.0), headings_known=(True,), controls=False)
    (whole, whole_deg), (half, half_deg), (lens, lens_deg) = engine.asked
    assert whole_deg == 40.0 and (whole.width_px, half.width_px, lens.width_px) == (720, 360, 180)
    for photo, heading in ((half, half_deg), (lens, lens_deg)):
        assert photo.exif.heading_deg is None and heading is not None
        middle = photo.pixels[photo.height_px // 2, photo.width_px // 2, 0] * 2.0 - 180.0  # from the panorama's middle
        assert abs((middle + 40.0 - heading + 180.0) % 360.0 - 180.0) <= 3.0
    assert half.exif.panorama_deg == 180.0 and (lens.exif.panorama_deg, lens.exif.fov_deg) == (None, 90.0)


def test_a_photo_that_is_no_panorama_is_asked_about_as_it_is() -> None:
    photo = Photo.from_pixels(np.zeros((30, 40, 3), np.uint8))
    cut, turned = cut_photo(photo, 90.0, 70.0, 123.0)
    assert cut.pixels is photo.pixels and turned == 0.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no json", "not a truth.geojson"),
        ('{"features": []}', "holds no photos"),
        ('{"features": [{"properties": {"file": "a.jpg", "lat": 1.0}}]}', "KeyError: 'lon'"),
        ('{"features": [{"properties": {"file": "gone.jpg", "lat": 1.0, "lon": 2.0}}]}', "gone.jpg is not there"),
    ],
)
def test_a_truth_that_cannot_be_read_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "truth.geojson"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        read_truth(path)
    assert says in str(raised.value)
    with pytest.raises(InputError, match="no such file"):
        read_truth(tmp_path / "none.geojson")
