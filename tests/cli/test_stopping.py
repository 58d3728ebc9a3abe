"""Ctrl-C of real processes: `geo batch` and `geo calibrate` end with code 130, keep what is answered, and do not ask it again."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from crossgeo.models.checkpoint import save_weights
from crossgeo.models.egotr import EgoTR, EgoTRConfig
from crossgeo.models.views import DroneView


def told_of(journal: Path) -> list[dict[str, Any]]:
    """Read what a journal says; its last line may be cut short while a process writes it."""
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    return [json.loads(line) for line in lines[1:] if line.endswith(b"\n")]


def wait_for(journal: Path, answers: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while sum("record" in line for line in told_of(journal)) < answers:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def asked(journal: Path) -> Counter[str]:
    """How often each photo was asked about, by name."""
    return Counter(json.loads(line["key"])[0] for line in told_of(journal) if "begun" in line)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of small photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(60):
        Image.new("RGB", (32, 24), (0, number, 0)).save(folder / f"{number:05d}.jpg")
    return folder


@pytest.fixture
def quick(tmp_path: Path, write_ortho: Any, patchwork: Any, geo: Any) -> tuple[Path, list[str]]:
    """An index of a few tiles with an untrained model that answers in a second, and the arguments that name its weights."""
    torch.manual_seed(0)
    config = EgoTRConfig("tiny", "efficientnet-lite0", (64, 64), (64, 64), 32, 2, 2, 64, descriptor=32, project=True, dropout=0.0)
    model = EgoTR(config)
    model.aerial.load_state_dict(model.ground.state_dict())
    card = {"name": "tiny", "kind": "egotr", "config": config.to_dict(), "view": DroneView(size_px=64).to_dict()}
    save_weights(tmp_path / "tiny.safetensors", model.state_dict(), {**card, "thresholds": {"score": -1.0, "margin": 0.0}})
    weights = ["--weights", str(tmp_path / "tiny.safetensors")]
    ortho = write_ortho(tmp_path / "small.tif", patchwork(1, 260))
    done = geo("index", "build", ortho, "--out", tmp_path / "small.geo", "--stride-m", "60", *weights)
    assert done.exit_code == 0, done.output
    return tmp_path / "small.geo", [*weights, "--street-weights", ""]


def test_a_batch_that_is_stopped_ends_with_130_and_goes_on(city: Any, photos: Path, start_geo: Any, geo: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    journal = tmp_path / "out.jsonl.partial.jsonl"
    command = ("batch", "--index", city.index, "--near", "1,2", "-o", out, "--keep-journal", "--street-weights", "", *city.weights)
    process = start_geo(*command, "-", stdin=subprocess.PIPE)
    process.stdin.write("".join(f"{photos / name}\n" for name in ("00000.jpg", "00001.jpg")))
    process.stdin.flush()  # and left open: more may come
    wait_for(journal, 2, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    said = process.stderr.read()
    assert f"interrupted; the answers of 2 photos are kept in {journal}, and the same command goes on from there" in " ".join(said.split())
    assert not out.exists()
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{photos / f'{number:05d}.jpg'}\n" for number in range(3)))
    done = geo(*command, listed)
    assert done.exit_code == 0, done.output
    assert "3 of 3 photos answered, 2 of them by an earlier run" in " ".join(done.stderr.split())
    assert [json.loads(line)["status"] for line in out.read_text().splitlines()] == ["outside_coverage"] * 3
    assert set(asked(journal).values()) == {1}


def test_a_calibration_that_is_stopped_ends_with_130_and_asks_nothing_twice(
    quick: tuple[Path, list[str]], photos: Path, start_geo: Any, geo: Any, tmp_path: Path
) -> None:
    index, weights = quick
    folder, known = tmp_path / "calibration", tmp_path / "known.csv"
    journal = folder / "answers.jsonl.partial.jsonl"

    def list_photos(names: Iterable[str]) -> None:
        rows = [f"photos/{Path(name).name},0,0,0,60,70,drone\n" for name in names]
        known.write_text("photo,lat,lon,heading_deg,height_m,fov_deg,kind\n" + "".join(rows))

    list_photos(path.name for path in photos.iterdir())
    process = start_geo("calibrate", index, known, "--out", folder, *weights)
    wait_for(journal, 2, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    said = " ".join(process.stderr.read().split())
    assert f"interrupted; the answers so far are kept in {folder}, and the same command goes on from there" in said
    kept = [json.loads(line["key"])[0] for line in told_of(journal) if "record" in line]
    assert 2 <= len(kept) < 60
    list_photos(kept)
    for more in ((), ("--located", "0.9")):  # and once more: what was asked stays
        done = geo("calibrate", index, known, "--out", folder, *more, *weights)
        assert done.exit_code == 3 and f"{len(kept)} taken outside of the index" in done.stderr
        assert len((folder / "answers.jsonl").read_text().splitlines()) == len(kept)
    assert set(asked(journal).values()) == {1}


def test_answers_of_other_ground_are_asked_for_anew(city: Any, photos: Path, geo: Any, tmp_path: Path) -> None:
    folder = tmp_path / "calibration"
    folder.mkdir()
    (folder / "answers.jsonl.partial.jsonl").write_text('{"journal": 4, "index": "another"}\n')
    (tmp_path / "known.csv").write_text(f"photo,lat,lon\n{photos / '00000.jpg'},1,2\n")
    (photos / "00000.jpg").write_bytes(b"\xff\xd8 no photo")
    done = geo("calibrate", city.index, tmp_path / "known.csv", "--out", folder, "--street-weights", "", *city.place_weights)
    assert done.exit_code == 3
    assert "holds answers of other ground or other weights; all photos are asked about anew" in " ".join(done.stderr.split())
