"""geo eval: tables and JSON of all three kinds, and what it refuses in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from typer.testing import Result

from crossgeo.engine import describe
from crossgeo.geodesy import parse_crs, to_lat_lon
from crossgeo.models.attengeo import PRESETS, AttenGeo
from crossgeo.models.checkpoint import load_egotr, save_weights
from crossgeo.models.egotr import EgoTR, EgoTRConfig
from crossgeo.models.panorama import PanoramaView
from crossgeo.models.street_view import StreetView
from crossgeo.training.datasets.records import ObjectRecord, PanoramaRecord
from crossgeo.training.datasets.write import unroll, write_cvact, write_cvogl

Geo = Callable[..., Result]
Refused = Callable[..., str]
CRS = "EPSG:32755"
SMALL = {"window_px": 128, "window_gsd_m": 300 / 128, "photo_px": 64, "channels": 16, "heads": 2, "hidden": 16, "iterations": 1}


def noise(seed: int, side_px: int) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((side_px // 8, side_px // 8, 1), np.uint8)).astype(np.uint8)


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CVACT of four test pairs, a CVOGL of three clicks, and untrained weights for both."""
    root = tmp_path_factory.mktemp("eval")
    pictures = [noise(n, 64) for n in range(5)]
    rows = [
        PanoramaRecord(f"id{n}", unroll(p), p, (690_000.0 + 30 * n, 6_090_000.0), CRS, "test" if n else "train", 0.5)
        for n, p in enumerate(pictures)
    ]
    write_cvact(rows, root / "cvact")
    boxes = [(20.0 + 30 * n, 40.0, 80.0 + 30 * n, 90.0) for n in range(3)]
    objects = [
        ObjectRecord(
            str(n),
            noise(n, 64),
            noise(9 + n, 128),
            (20.0, 20.0),
            box,
            (*box, *box),
            "pond",
            "test",
            "drone",
            CRS,
            (690_000.0 + n, 6_090_000.0),
        )
        for n, box in enumerate(boxes)
    ]
    write_cvogl(objects, root / "cvogl", "drone")
    config = EgoTRConfig("tiny", "efficientnet-lite0", (32, 128), (32, 128), 16, 1, 2, 32, polar=True, dropout=0.0)
    view = PanoramaView.of(config).to_dict()
    for seed in (0, 1):
        torch.manual_seed(seed)
        card = {"name": f"tiny-{seed}", "kind": "egotr", "config": config.to_dict(), "view": view}
        save_weights(root / f"place{seed}.safetensors", EgoTR(config).state_dict(), card)
    made = AttenGeo(type(PRESETS["attengeo-s"])(**{**vars(PRESETS["attengeo-s"]), **SMALL, "spatial_hidden": 8}))
    card = {"name": "tiny-boxes", "kind": "attengeo", "config": made.config.to_dict(), "view": made.config.view.to_dict()}
    save_weights(root / "boxes.safetensors", made.state_dict(), card)
    return root


def test_retrieval_prints_a_table_of_each_protocol_and_one_in_metres(geo: Geo, sets: Path) -> None:
    done = geo("eval", "retrieval", sets / "cvact", "--split", "test", "--weights", sets / "place0.safetensors", "--fov", "360")
    assert done.exit_code == 0, done.output
    assert "protocol 5m: a hit is any aerial picture" in done.stdout and "protocol id: a hit is the photo's own" in done.stdout
    for line in ("tiny-0", "heading shifted at random", "untrained network", "histograms", "chance", "published: Polar-EgoTR"):
        assert line in done.stdout, line
    assert "360°, unknown" in done.stdout and "metres" in done.stdout


def test_retrieval_of_two_seeds_against_a_third_is_one_json_object(geo: Geo, sets: Path, tmp_path: Path) -> None:
    weights = ["--weights", sets / "place0.safetensors", "--weights", sets / "place1.safetensors"]
    done = geo(
        "eval", "retrieval", sets / "cvact", "--layout", "cvact", "--split", "test", *weights, "--against", sets / "place0.safetensors",
        "--protocol", "id", "--fov", "90", "--heading", "unknown", "--headings-tried", "4", "--no-controls", "--json",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["format"], report["kind"], report["set"]["references"]) == ("crossgeo-eval", "retrieval", 4)
    (cell,) = report["cells"]
    assert (cell["fov_deg"], cell["heading"], len(cell["models"])) == (90.0, "unknown", 2)
    assert cell["over_seeds"]["id"]["R@1"]["count"] == 2 and cell["against"]["id"]["R@1"]["value"] == 0.0
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written == report
    assert (tmp_path / "out" / "recall.png").stat().st_size > 5000


def test_objects_prints_boxes_with_their_controls_and_draws_them(geo: Geo, sets: Path, tmp_path: Path) -> None:
    done = geo("eval", "objects", sets / "cvogl", "--weights", sets / "boxes.safetensors", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.json", "accu.png", "iou.png"}
    assert "report.json, accu.png, iou.png" in " ".join(done.stderr.split())
    for line in ("accu@0.25", "tiny-boxes", "pond (3)", "untrained network", "published: AttenGeo"):
        assert line in done.stdout, line
    report = json.loads(geo("eval", "objects", sets / "cvogl", "--weights", sets / "boxes.safetensors", "--no-controls", "--json").stdout)
    assert report["controls"] == {} and all(abs(one["lat"] + 35.3) < 0.5 for one in report["answers"])


def test_places_are_judged_through_the_engine(geo: Geo, city: Any, tmp_path: Path) -> None:
    lat, lon = to_lat_lon(parse_crs("EPSG:32645"), 363_000.0 + 60.0, 3_057_600.0 - 55.0)
    facts = {"file": city.photo.name, "lat": lat, "lon": lon, "heading_deg": 0.0, "hfov_deg": 70.0}
    (tmp_path / city.photo.name).write_bytes(city.photo.read_bytes())
    (tmp_path / "truth.geojson").write_text(json.dumps({"features": [{"properties": facts}]}))
    asked = ("eval", "places", city.index, tmp_path / "truth.geojson", *city.place_weights, "--heading", "known", "--no-controls")
    done = geo(*asked, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "1 photos in city.geo" in done.stdout and "Statuses" in done.stdout and "70°, known" in done.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["cells"][0]["models"][0]["metres"]["median_m"]["value"] < 200.0
    (model,) = report["models"]
    assert model["name"] == "untrained-egotr" and set(model["sha256"]) == {"drone"} and len(model["sha256"]["drone"]) == 64


def test_places_are_asked_about_with_the_street_weights_that_go_with_the_index(
    geo: Geo, city: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = load_egotr(city.folder / "egotr.safetensors")
    card = {"kind": "egotr-street", "config": above.module.config.to_dict(), "view": StreetView().to_dict()}
    branch, partner = tmp_path / "beside.safetensors", {"name": above.card["name"], "sha256": above.sha256}
    save_weights(branch, above.module.ground.state_dict(), {**card, "name": "beside", "aerial": partner})
    state = {name: tensor * 1.01 for name, tensor in above.module.ground.state_dict().items()}
    save_weights(tmp_path / "seed2.safetensors", state, {**card, "name": "seed2", "aerial": partner})
    monkeypatch.setattr(describe, "street_partner", lambda sha256: str(branch) if sha256 == above.sha256 else None)
    Image.new("RGB", (128, 64), (90, 110, 80)).save(tmp_path / "around.jpg")
    lat, lon = to_lat_lon(parse_crs("EPSG:32645"), 363_060.0, 3_057_545.0)
    facts = {"file": "around.jpg", "lat": lat, "lon": lon, "heading_deg": 0.0, "hfov_deg": 360.0}
    (tmp_path / "truth.geojson").write_text(json.dumps({"features": [{"properties": facts}]}))
    asked = ("eval", "places", city.index, tmp_path / "truth.geojson", *city.place_weights, "--heading", "known", "--no-controls", "--json")
    done = geo(*asked)
    assert done.exit_code == 0, done.output
    assert [model["name"] for model in json.loads(done.stdout)["models"]] == ["untrained-egotr and beside"]
    assert "no weights for those" in geo(*asked, "--street-weights", "").stderr
    done = geo(*asked[:-1], "--street-weights", "auto", "--street-weights", tmp_path / "seed2.safetensors", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [model["name"] for model in report["models"]] == ["untrained-egotr and beside", "untrained-egotr and seed2"]
    assert len(report["cells"][0]["models"]) == report["cells"][0]["over_seeds"]["metres"]["within_25_m"]["count"] == 2
    assert all(line in done.stdout for line in ("over seeds", "untrained-egotr and seed2"))
    assert "leave it out, or give it alone" in geo(*asked, "--street-weights", "", "--street-weights", branch).stderr


def test_what_does_not_fit_is_refused_in_one_line(refused: Refused, sets: Path, city: Any, tmp_path: Path) -> None:
    place, boxes = sets / "place0.safetensors", sets / "boxes.safetensors"
    at = ("eval", "retrieval", sets / "cvact", "--split", "test", "--weights")
    assert "drone view" in refused(7, *at, city.folder / "egotr.safetensors")
    assert "not of 'egotr'" in refused(6, *at, boxes)
    assert "no such protocol" in refused(2, *at, place, "--protocol", "10m")
    for command, folder in (("retrieval", "cvact"), ("objects", "cvogl")):
        said = refused(2, "eval", command, sets / folder, "--weights", place, "--device", "nowhere")
        assert "--device nowhere: no such device; give cpu, cuda, cuda:1 or auto" in said
    assert "University-1652" in refused(7, *at, place, "--protocol", "place")
    assert "has no split 'dev'" in refused(3, "eval", "retrieval", sets / "cvact", "--split", "dev", "--weights", place)
    assert "geo eval objects" in refused(3, "eval", "retrieval", sets / "cvogl", "--weights", place)
    assert "geo eval retrieval" in refused(3, "eval", "objects", sets / "cvact", "--weights", boxes)
    assert "reads 48 m" in refused(7, "eval", "objects", sets / "cvogl", "--weights", city.folder / "attengeo.safetensors")
    assert "is a file" in refused(3, *at, place, "--out", place)
    (tmp_path / "truth.geojson").write_text('{"features": []}')
    assert "holds no photos" in refused(3, "eval", "places", city.index, tmp_path / "truth.geojson", *city.place_weights)
    (tmp_path / "truth.geojson").write_text('{"features": [{"properties": {"file": "gone.jpg", "lat": 1, "lon": 2}}]}')
    assert "gone.jpg is not there" in refused(3, "eval", "places", city.index, tmp_path / "truth.geojson", *city.place_weights)
    assert "each needs file, lat and lon" in refused(3, "eval", "places", city.index, sets / "cvact" / "crossgeo.json", *city.place_weights)


def test_a_photo_that_does_not_say_its_field_of_view_is_counted(geo: Geo, sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossgeo.training.datasets import layouts

    every = layouts.read(sets / "cvact", None)
    silent = replace(every, pairs=tuple(replace(pair, fov_deg=None) if number == 2 else pair for number, pair in enumerate(every)))
    asked = (
        "eval",
        "retrieval",
        sets / "cvact",
        "--split",
        "test",
        "--weights",
        sets / "place0.safetensors",
        "--fov",
        "90",
        "--no-controls",
    )
    assert "field of view" not in geo(*asked).stdout
    monkeypatch.setattr(layouts, "read", lambda folder, layout: silent)
    assert "1 of 4 photos do not say their field of view, which was taken for 67°." in geo(*asked).stdout
    assert json.loads(geo(*asked, "--json").stdout)["field_of_view"] == {"not_said": 1, "assumed_deg": 67.0}


@pytest.mark.parametrize("command", ["retrieval", "objects", "places"])
def test_plots_that_cannot_be_drawn_are_refused_before_anything_is_read(
    command: str, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    rest = [tmp_path / "truth.geojson"] if command == "places" else ["--weights", "none"]
    said = refused(2, "eval", command, tmp_path / "nothing", *rest, "--out", tmp_path / "out")
    assert "plots need matplotlib: pip install" in said and "leave --out away" in said
    assert not (tmp_path / "out").exists()


def test_a_missing_picture_is_named_before_anything_is_described(refused: Refused, sets: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(sets / "cvact", tmp_path / "cvact")
    gone = sorted((tmp_path / "cvact" / "ANU_data_test" / "streetview").iterdir())[1]
    gone.unlink()
    said = refused(3, "eval", "retrieval", tmp_path / "cvact", "--split", "test", "--weights", sets / "place0.safetensors")
    assert f"{gone} is not there" in said
