"""`geo train`: each way to train leaves weights that load, and arguments that do not fit are refused before anything is read."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import rasterio
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from crossgeo import geodesy
from crossgeo.cli import app
from crossgeo.commands.train_shared import heritage
from crossgeo.models.attengeo import PRESETS, AttenGeo
from crossgeo.models.checkpoint import load_attengeo, load_egotr, load_object_network, load_weights, read_card, save_weights
from crossgeo.models.convnextv2 import ConvNeXtV2
from crossgeo.models.detgeo import PRESETS as DETGEO
from crossgeo.models.detgeo import DetGeo
from crossgeo.training.datasets.records import ObjectRecord, PanoramaRecord
from crossgeo.training.datasets.write import write_cvact, write_cvogl
from crossgeo.training.evaluation.describing import PairModel

QUICK = ["--device", "cpu", "--workers", "0", "--batch", "4", "--steps", "2"]


def geo(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="geo")


def done(*args: str | Path) -> Result:
    result = geo(*args)
    assert result.exit_code == 0, result.output
    return result


def blobs(seed: int, height: int, width: int) -> np.ndarray[Any, Any]:
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture
def panoramas(tmp_path: Path) -> Path:
    """Ten pairs in CVACT's layout, whose aerials show 64 m."""
    splits = ["train"] * 8 + ["val"] * 2
    records = [
        PanoramaRecord(f"p{n}", blobs(n, 64, 128), blobs(n + 99, 64, 64), (690_000.0 + 200.0 * n, 6_090_000.0), "EPSG:32755", split, 1.0)
        for n, split in enumerate(splits)
    ]
    write_cvact(records, tmp_path / "cvact")
    return tmp_path / "cvact"


def test_photos_and_imagery_fine_tune_weights_and_say_what_that_brought(street_city: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    source = ["--imagery", street_city.ortho, "--photos", street_city.photos, "--start-from", street_city.weights]
    result = done("train", *source, "--out", out, *QUICK)  # without a command, as for egotr
    before, after = result.stdout.splitlines()
    said = " ".join(result.stderr.split())
    assert "`geo query` with --street-weights" in said and "its thresholds are not calibrated" in said
    assert before.startswith("held-out photos, before") and after.startswith("held-out photos, after")
    assert "within 25 m" in after
    card = read_card(out / "weights.safetensors")
    assert (card["kind"], card["aerial"]["name"], card["view"]["kind"]) == ("egotr-street", "tiny", "street")
    assert card["training"]["data"]["held_out_figures"]["after"]["within_25_m"]["count"] == card["training"]["data"]["held_out"]
    assert torch.load(out / "checkpoint.pt", weights_only=True)["step"] == 2


def test_photos_that_do_not_say_their_field_of_view_are_counted(street_city: Any, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(street_city.photos, photos)
    with PIL.Image.open(next(photos.glob("*.jpg"))) as panorama:
        exif = panorama.getexif()
    gps = exif.get_ifd(0x8825)
    gps[16], gps[17] = "T", 30.0  # a heading, and no focal length
    PIL.Image.fromarray(blobs(5, 60, 80)).save(photos / "phone.jpg", exif=exif)
    source = ["--imagery", street_city.ortho, "--photos", photos, "--start-from", street_city.weights]
    said = " ".join(done("train", *source, "--out", tmp_path / "run", *QUICK).stderr.split())
    assert "do not say their field of view (EXIF FocalLengthIn35mmFilm): 1, like phone.jpg; it is taken for 67 degrees" in said


def test_pairs_train_a_preset_by_either_recipe(street_city: Any, panoramas: Path, tmp_path: Path) -> None:
    for recipe in ("paper", "strong"):
        out = tmp_path / recipe
        source = ["--data", panoramas, "--layout", "cvact", "--recipe", recipe, "--start-from", street_city.weights]
        done("train", "egotr", *source, "--out", out, *QUICK)
        row = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
        assert row["step"] == 2 and 0.0 <= row["recall_1"] <= 1.0
        model = PairModel.load(str(out / "weights.safetensors"))
        assert model.kind == "street"
        assert read_card(out / "weights.safetensors")["training"]["recipe"] == recipe


def test_a_share_of_the_pairs_is_trained_on_and_the_card_says_so(street_city: Any, panoramas: Path, tmp_path: Path) -> None:
    source = ["--data", panoramas, "--recipe", "paper", "--start-from", street_city.weights, *QUICK]
    done("train", "egotr", *source, "--share", "0.6", "--out", tmp_path / "run")
    about = read_card(tmp_path / "run" / "weights.safetensors")["training"]["data"]
    assert about == {"set": about["set"], "layout": "cvact", "split": "train", "share": 0.6, "pairs": 5}
    other = geo("train", "egotr", *source, "--out", tmp_path / "run")
    assert other.exit_code == 7 and "(data '5 pairs, " in " ".join(other.stderr.split())
    done("train", "egotr", *source, "--share", "0.1", "--out", tmp_path / "few")
    assert read_card(tmp_path / "few" / "weights.safetensors")["training"]["data"]["pairs"] == 4  # a batch


def test_a_run_is_not_resumed_with_another_loss_batch_or_data(street_city: Any, panoramas: Path, tmp_path: Path) -> None:
    source = ["--data", panoramas, "--start-from", street_city.weights, "--out", tmp_path / "run", *QUICK]
    done("train", "egotr", *source, "--recipe", "paper")
    for changed, said in (
        (["--recipe", "strong"], "loss 'triplet' there and 'infonce' here"),
        (["--recipe", "paper", "--batch", "6"], "(batch 4 there and 6 here)"),
        (["--recipe", "paper", "--split", "val"], "(data '8 pairs, "),
    ):
        result = geo("train", "egotr", *source, *changed)
        assert result.exit_code == 7
        assert said in " ".join(result.stderr.split())


def test_layers_that_are_computed_again_come_to_the_same_weights(street_city: Any, panoramas: Path, tmp_path: Path) -> None:
    kept = []
    for name, asked in (("plain", ()), ("again", ("--recompute",))):
        source = ["--data", panoramas, "--recipe", "paper", "--start-from", street_city.weights, "--out", tmp_path / name]
        done("train", "egotr", *source, *QUICK, *asked)
        kept.append(torch.load(tmp_path / name / "checkpoint.pt", weights_only=True))
    assert [saved["training"]["recompute"] for saved in kept] == [False, True]
    for name, tensor in kept[0]["task"].items():
        if isinstance(tensor, torch.Tensor):
            torch.testing.assert_close(kept[1]["task"][name], tensor, atol=1e-5, rtol=1e-4)


def test_imagery_still_trains_on_rendered_drone_views(street_city: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = done("train", "egotr", street_city.ortho, "--start-from", street_city.weights, "--out", out, *QUICK)
    assert "`geo query` with --weights" in " ".join(result.stderr.split())
    assert load_egotr(out / "weights.safetensors").card["view"]["kind"] == "drone"
    assert geo("train", "egotr", street_city.ortho, "--start-from", street_city.weights, "--out", out, *QUICK, "--seed", "7").exit_code == 7


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    """Six clicks in CVOGL's layout, whose aerials show 300 m."""
    records = [
        ObjectRecord(
            id=str(n), photo=blobs(n, 64, 64), aerial=blobs(n + 50, 128, 128), click_px=(20.0, 31.0), box_px=(10.0, 12.0, 40.0, 50.0),
            quad_px=(10.0, 12.0, 40.0, 12.0, 40.0, 50.0, 10.0, 50.0), kind="building", split=split, task="drone", crs="EPSG:32615",
            aerial_centre_xy=(539_827.0 + 1000.0 * n, 4_880_079.0), photo_xy=(539_733.0 + 1000.0 * n, 4_880_095.0),
        )
        for n, split in enumerate(["train"] * 4 + ["val", "test"])
    ]  # fmt: skip
    write_cvogl(records, tmp_path / "cvogl", "drone")
    return tmp_path / "cvogl"


TINY = replace(
    PRESETS["attengeo"], name="tiny", depths=(1, 1), widths=(16, 24), stride=8, window_px=48, window_gsd_m=300 / 48, photo_px=24,
    channels=16, heads=2, hidden=32, iterations=1, spatial_hidden=8, anchors=((12.0, 12.0), (20.0, 20.0)),
)  # fmt: skip


def test_clicks_train_attengeo(clicks: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    card = {"name": "tiny", "kind": "attengeo", "config": TINY.to_dict(), "view": TINY.view.to_dict()}
    save_weights(tmp_path / "tiny.safetensors", AttenGeo(TINY).state_dict(), card)
    out = tmp_path / "run"
    source = ["--data", clicks, "--recipe", "paper", "--start-from", tmp_path / "tiny.safetensors"]
    done("train", "attengeo", *source, "--share", "0.5", "--out", tmp_path / "half", *QUICK, "--batch", "2")
    about = read_card(tmp_path / "half" / "weights.safetensors")["training"]["data"]
    assert (about["share"], about["clicks"]) == (0.5, 2)
    result = done("train", "attengeo", *source, "--out", out, *QUICK)
    assert "`geo query` with --object-weights" in " ".join(result.stderr.split())
    assert "accu_50" in json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    training = load_attengeo(out / "weights.safetensors").card["training"]
    assert (training["data"]["clicks"], training["started_from"]) == (4, "tiny")
    source_of = {"from": "detgeo", "file": "x.pth"}
    assert heritage({**card, "licence": "MIT", "source": source_of, "digest": "0"}) == {
        "name": "tiny",
        "licence": "MIT",
        "source": source_of,
    }


def test_the_papers_recipe_begins_with_imagenets_backbone(clicks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "attengeo", TINY)
    torch.manual_seed(0)
    imagenet = ConvNeXtV2(TINY.depths, TINY.widths).state_dict()
    save_file({**imagenet, "head.fc.weight": torch.zeros(4, 24)}, tmp_path / "imagenet.safetensors")
    source = ["--data", clicks, "--recipe", "paper", "--preset", "attengeo", *QUICK[:-1], "1", "--lr", "1e-8"]  # that moves nothing
    said = done("train", "attengeo", *source, "--imagenet", tmp_path / "imagenet.safetensors", "--out", tmp_path / "run").stderr
    assert "random weights" not in said
    assert read_card(tmp_path / "run" / "weights.safetensors")["training"]["imagenet"] == "imagenet.safetensors"
    begun = load_attengeo(tmp_path / "run" / "weights.safetensors").module.backbone.state_dict()
    assert torch.allclose(begun["stages.1.blocks.0.mlp.fc1.weight"], imagenet["stages.1.blocks.0.mlp.fc1.weight"], atol=1e-3)
    torch.save({"model": imagenet}, tmp_path / "imagenet.pth")
    done("train", "attengeo", *source, "--imagenet", tmp_path / "imagenet.pth", "--out", tmp_path / "again")
    same = load_attengeo(tmp_path / "again" / "weights.safetensors").module.backbone.state_dict()
    assert all(torch.equal(same[name], tensor) for name, tensor in begun.items())
    random = " ".join(done("train", "attengeo", *source, "--out", tmp_path / "random").stderr.split())
    assert "training starts from random weights; the paper's backbone begins with ImageNet's, which --imagenet gives" in random
    result = geo("train", "attengeo", *source, "--imagenet", clicks / "nothing.safetensors", "--out", tmp_path / "none")
    assert result.exit_code == 6 and "no such file" in result.stderr


SMALL_DETGEO = {
    name: replace(config, window_px=96, window_gsd_m=300 / 96, photo_px=64, iterations=1, spatial_hidden=8)
    for name, config in DETGEO.items()
}  # fmt: skip


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """A folder that is gone after the test: pytest keeps what tests leave, and DetGeo's checkpoints are of a gigabyte."""
    folder = tmp_path / "large"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("preset", DETGEO)
def test_clicks_train_detgeo_plain_and_with_attengeos_parts(
    preset: str, clicks: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DETGEO, preset, SMALL_DETGEO[preset])
    source = ["--data", clicks, "--recipe", "paper", "--preset", preset, "--out", large / "run"]
    said = " ".join(done("train", "attengeo", *source, *QUICK).stderr.split())
    assert "training starts from random weights; DetGeo's own, imported with `geo weights import`" in said
    assert "accu_50" in json.loads((large / "run" / "log.jsonl").read_text().splitlines()[-1])
    loaded = load_object_network(large / "run" / "weights.safetensors")
    assert (loaded.card["kind"], loaded.module.config) == ("detgeo", SMALL_DETGEO[preset])
    assert loaded.card["training"]["data"]["clicks"] == 4
    assert loaded.module.state_dict()["window_net.stem.norm.num_batches_tracked"] == 2
    saved = torch.load(large / "run" / "checkpoint.pt", weights_only=True)
    learnt = sum(parameter.requires_grad for parameter in DetGeo(SMALL_DETGEO[preset]).parameters())
    assert sum(len(group["params"]) for group in saved["optimiser"]["param_groups"]) == learnt


@pytest.mark.slow
def test_detgeo_goes_on_from_weights_of_its_own(clicks: Path, large: Path) -> None:
    config = SMALL_DETGEO["detgeo"]
    torch.manual_seed(0)
    card = {"name": "imported", "kind": "detgeo", "config": config.to_dict(), "view": config.view.to_dict()}
    begun = DetGeo(config).state_dict()
    save_weights(large / "imported.safetensors", begun, card, dtype=torch.float32)
    source = ["--data", clicks, "--start-from", large / "imported.safetensors", "--out", large / "run"]
    done("train", "attengeo", *source, *QUICK)
    card, ended = load_weights(large / "run" / "weights.safetensors")
    assert (card["kind"], card["training"]["started_from"]) == ("detgeo", "imported")
    assert ended["window_net.stem.norm.running_var"].dtype == torch.float32
    for name in ("photo_net.conv1.weight", "window_net.stem.conv.weight", "window_net.stem.norm.running_var", "head.1.weight"):
        assert not torch.equal(ended[name], begun[name]), name
    for name in (name for name in begun if ".unused." in name or ".neck_32.sixth." in name):
        assert torch.equal(ended[name], begun[name]), name


def test_detgeo_trains_on_outlines_over_imagery(street_city: Any, tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETGEO, "detgeo", replace(SMALL_DETGEO["detgeo"], window_gsd_m=0.5))
    with rasterio.open(street_city.ortho) as ortho:
        (west, _, _, north), crs = ortho.bounds, geodesy.parse_crs(str(ortho.crs))
    corners = [(west + 200.0 + x, north - 200.0 - y) for x, y in ((0, 0), (15, 0), (15, 10), (0, 10), (0, 0))]
    ring = [geodesy.to_lat_lon(crs, *corner)[::-1] for corner in corners]
    house = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (tmp_path / "houses.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [house]}))
    source = [street_city.ortho, "--outlines", tmp_path / "houses.geojson", "--preset", "detgeo", "--out", large / "run"]
    done("train", "attengeo", *source, *QUICK)
    assert load_object_network(large / "run" / "weights.safetensors").module.config.window_gsd_m == 0.5


def test_imagenet_is_no_start_for_detgeo_and_other_presets_are_named(clicks: Path, tmp_path: Path) -> None:
    source = ["--data", clicks, "--out", tmp_path / "run", *QUICK]
    result = geo("train", "attengeo", *source, "--preset", "detgeo-cvcam", "--imagenet", "x.safetensors")
    assert result.exit_code == 2
    assert "start from imported weights with --start-from" in " ".join(result.stderr.split())
    result = geo("train", "attengeo", *source, "--preset", "egotr-b")
    assert result.exit_code == 2
    assert "choose from attengeo, " in result.stderr and "detgeo-mhsam" in result.stderr


def test_a_model_that_reads_less_ground_than_the_pictures_show_is_not_trained_on_them(clicks: Path, tmp_path: Path) -> None:
    result = geo("train", "attengeo", "--data", clicks, "--preset", "attengeo-s", "--out", tmp_path / "run", *QUICK)
    assert result.exit_code == 7
    assert "attengeo-s reads 48 m of ground, and the pictures of CVOGL drone show 300 m" in " ".join(result.stderr.split())


def test_a_damaged_photo_is_named_in_the_log(street_city: Any, panoramas: Path, tmp_path: Path) -> None:
    next(panoramas.rglob("p3_grdView.jpg")).write_bytes(b"no picture")
    out = tmp_path / "run"
    source = ["--data", panoramas, "--recipe", "paper", "--start-from", street_city.weights]
    done("train", "egotr", *source, "--out", out, *QUICK)
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    (row,) = [row for row in rows if "skipped" in row]
    assert row["skipped"][0].startswith("p3: ") and row["skipped_in_all"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "train on imagery or on a data set"),
        (["ortho.tif", "--data", "set"], "train on imagery or on a data set"),
        (["ortho.tif", "--layout", "cvact"], "--layout is of a data set"),
        (["--data", "set", "--hold-out", "1,2,3,4"], "--hold-out is for imagery"),
        (["ortho.tif", "--share", "0.5"], "--share is of a data set's pairs"),
        (["--data", "set", "--share", "0"], "--share 0 is no share of the pairs"),
        (["--data", "set", "--share", "1.5"], "give one above 0 and up to 1"),
        (["--data", "set", "--share", "nan"], "--share nan is no share"),
        (["--data", "set", "--photos", "photos"], "--photos goes with imagery alone"),
        (["ortho.tif", "--photos", "photos", "--recipe", "paper"], "--photos goes with imagery alone"),
        (["ortho.tif", "--epochs", "3"], "no epochs"),
        (["ortho.tif", "--preset", "egotr-b"], "give weights of a drone view, or --preset egotr-s"),
        (["ortho.tif", "--preset", "egotr-s", "--start-from", "egotr-s-drone"], "give one of them"),
        (["ortho.tif", "--photos", "photos", "--preset", "egotr-s"], "leave --preset out"),
        (["ortho.tif", "--imagenet", "x.safetensors"], "say which with --preset"),
        (["ortho.tif", "--device", "nowhere", "--steps", "1"], "--device nowhere"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = geo("train", "egotr", *arguments, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_a_model_of_street_photos_is_not_trained_on_photos_from_above(tmp_path: Path) -> None:
    source = ["ortho.tif", "--outlines", "houses.geojson", "--preset", "attengeo-s-street"]
    result = geo("train", "attengeo", *source, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "attengeo-s-street reads street photos" in " ".join(result.stderr.split())


def test_data_of_the_other_model_and_data_that_is_not_there_are_refused(panoramas: Path, tmp_path: Path) -> None:
    assert geo("train", "attengeo", "--data", panoramas, "--out", tmp_path / "run").exit_code == 2
    assert geo("train", "egotr", "--data", tmp_path / "nothing", "--out", tmp_path / "run").exit_code == 3
    next(panoramas.rglob("p1_grdView.jpg")).unlink()
    result = geo("train", "egotr", "--data", panoramas, "--preset", "egotr-s", "--out", tmp_path / "run", *QUICK)
    assert result.exit_code == 3
    assert "p1_grdView.jpg of pair p1 is not there" in " ".join(result.stderr.split())
