"""training/journal.py and training/curves.py: a log in JSON and TensorBoard's events, and its picture."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from crossgeo.training.curves import curves_of, save_curves
from crossgeo.training.journal import Journal, read_rows


def write(out: Path, rows: int = 4) -> None:
    with Journal(out, 0) as journal:
        for step in range(1, rows + 1):
            journal.note({"step": step, "minutes": 0.1, "lr": 1e-3, "loss": 4.0 / step})
        journal.note({"step": rows, "minutes": 0.2, "recall_25_m": 0.5})


def test_rows_are_json_lines_and_their_numbers_are_tensorboards_scalars(tmp_path: Path) -> None:
    write(tmp_path)
    assert [row["loss"] for row in read_rows(tmp_path / "log.jsonl") if "loss" in row] == [4.0, 2.0, 4.0 / 3.0, 1.0]
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss", "lr", "recall_25_m"]
    assert [(event.step, event.value) for event in events.Scalars("loss")][:2] == [(1, 4.0), (2, 2.0)]


def test_without_tensorboard_only_json_is_written_and_it_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said: list[str] = []
    for step in (0, 1):
        with Journal(tmp_path, step, said.append) as journal:
            journal.note({"step": step + 1, "loss": 1.0})
    assert [line for line in said if "TensorBoard" in line] == [said[0]]
    assert [json.loads(line)["step"] for line in said[1:]] == [1, 2]
    assert not (tmp_path / "events").exists()


def test_a_process_that_does_not_write_leaves_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path, 0, writes=False) as journal:
        journal.note({"step": 1, "loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_rows(tmp_path / "log.jsonl") == [{"step": 1, "loss": 2.0}]


def test_curves_are_every_number_over_steps_the_loss_first() -> None:
    rows = [
        {"step": 1, "minutes": 0.0, "lr": 0.1, "loss": 2.0},
        {"step": 2, "skipped": ["a"], "skipped_in_all": 1},
        {"step": 2, "loss": 1.0},
    ]
    assert curves_of(rows) == {"loss": [(1.0, 2.0), (2.0, 1.0)], "lr": [(1.0, 0.1)]}
    assert next(iter(curves_of(rows))) == "loss"


def test_the_picture_shows_a_falling_loss_as_a_line_that_falls(tmp_path: Path) -> None:
    write(tmp_path, 40)
    save_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).astype(int)
    line = (picture[:210, :, 2] - picture[:210, :, 0]) > 60  # blue, in the loss's panel
    left, right = (np.flatnonzero(line[:, columns].any(axis=1)).mean() for columns in (slice(92, 200), slice(850, 980)))
    assert left < right - 40


def test_a_log_without_numbers_leaves_no_picture(tmp_path: Path) -> None:
    save_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
