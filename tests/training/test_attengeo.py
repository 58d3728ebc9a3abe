"""training/attengeo.py: the loop learns, resumes, refuses another model's checkpoint, and judges boxes rightly."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossgeo.errors import InputError, MismatchError
from crossgeo.models.attengeo import PRESETS, AttenGeo
from crossgeo.models.detgeo import DetGeo, DetGeoConfig
from crossgeo.training.attengeo import AttenGeoTask, AttenGeoTraining, BoxAccuracy, ClickSource, evaluate_attengeo, train_attengeo
from crossgeo.training.objects import ObjectBatch, held_out_batches
from crossgeo.training.render import ObjectSample
from crossgeo.training.saving import trained_model

CONFIG = dataclasses.replace(
    PRESETS["attengeo"], name="tiny", depths=(1, 1), widths=(16, 24), stride=8, window_px=48, photo_px=24, channels=16, heads=2, hidden=32,
    iterations=1, spatial_hidden=8, anchors=((12.0, 12.0), (20.0, 20.0)),
)  # fmt: skip
SHORT = AttenGeoTraining(steps=60, batch=8, lr=4e-3, backbone_lr=4e-3, frozen_layers=0, workers=0, bf16=False, average=0.8, log_steps=10)


def draw_square(rng: np.random.Generator) -> ObjectSample:
    """A bright square somewhere in a dark window, its colour in the photo."""
    window, photo = np.full((48, 48, 3), 40, np.uint8), np.full((24, 24, 3), 40, np.uint8)
    side = int(rng.integers(10, 20))
    x, y = (int(v) for v in rng.integers(2, 46 - side, 2))
    window[y : y + side, x : x + side] = photo[4:20, 4:20] = (240, 200, 40)
    return ObjectSample(photo, np.ones((24, 24), np.bool_), (12.0, 12.0), window, np.array([x, y, x + side, y + side], np.float32))


SQUARES = ClickSource(draw_square, CONFIG.view, SHORT.batch)


def test_the_loop_learns_to_find_boxes(tmp_path: Path) -> None:
    lines: list[str] = []
    held = held_out_batches(draw_square, CONFIG.view, 24, 8, seed=99)
    model = train_attengeo(SHORT, SQUARES, tmp_path, model_config=CONFIG, held_out=held, log=lines.append)
    rows = [json.loads(line) for line in lines]
    losses = [row["confidence"] for row in rows if "confidence" in row]
    assert losses[-1] < 0.8 * losses[0]
    torch.manual_seed(SHORT.seed)
    untrained = evaluate_attengeo(AttenGeo(CONFIG).eval(), held)
    trained = evaluate_attengeo(model, held)
    assert trained.accu_25 > untrained.accu_25 + 0.2
    assert rows[-1]["accu_25"] == pytest.approx(trained.accu_25, abs=1e-4)
    assert (tmp_path / "log.jsonl").read_text().splitlines() == lines
    assert not model.training


def test_a_rerun_goes_on_where_the_run_stopped(tmp_path: Path) -> None:
    half = dataclasses.replace(SHORT, steps=4, log_steps=1)
    train_attengeo(half, SQUARES, tmp_path, model_config=CONFIG)
    lines: list[str] = []
    result = train_attengeo(dataclasses.replace(half, steps=6), SQUARES, tmp_path, model_config=CONFIG, log=lines.append)
    assert [json.loads(line)["step"] for line in lines] == [5, 6]
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["step"] == 6
    torch.testing.assert_close(trained_model(tmp_path / "checkpoint.pt")[0], dict(result.state_dict()))


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    done = dataclasses.replace(SHORT, steps=2)
    first = train_attengeo(done, SQUARES, tmp_path, model_config=CONFIG).state_dict()
    again = train_attengeo(done, SQUARES, tmp_path, model_config=CONFIG).state_dict()
    torch.testing.assert_close(dict(again), dict(first), atol=0, rtol=0)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    train_attengeo(dataclasses.replace(SHORT, steps=1), SQUARES, tmp_path, model_config=CONFIG)
    with pytest.raises(MismatchError, match=r"checkpoint\.pt is of another run \(mhsam True there and False here\)"):
        train_attengeo(SHORT, SQUARES, tmp_path, model_config=dataclasses.replace(CONFIG, mhsam=False))


def test_minutes_end_a_run_as_well_as_steps(tmp_path: Path) -> None:
    lines: list[str] = []
    config = dataclasses.replace(SHORT, steps=10_000, minutes=0.005, log_steps=1)
    train_attengeo(config, SQUARES, tmp_path, model_config=CONFIG, log=lines.append)
    assert 1 <= len(lines) < 10_000


def test_frozen_layers_do_not_move(tmp_path: Path) -> None:
    torch.manual_seed(SHORT.seed)
    before = {name: tensor.clone() for name, tensor in AttenGeo(CONFIG).state_dict().items()}
    frozen = dataclasses.replace(SHORT, steps=3, frozen_layers=2)
    after = train_attengeo(frozen, SQUARES, tmp_path, model_config=CONFIG, start_from=before).state_dict()
    assert torch.equal(after["backbone.stages.0.blocks.0.conv_dw.weight"], before["backbone.stages.0.blocks.0.conv_dw.weight"])
    assert not torch.equal(after["backbone.stages.1.blocks.0.conv_dw.weight"], before["backbone.stages.1.blocks.0.conv_dw.weight"])
    assert not torch.equal(after["backbone.stem.0.click"], before["backbone.stem.0.click"])


def test_layers_that_were_drawn_at_random_are_never_frozen(tmp_path: Path) -> None:
    torch.manual_seed(SHORT.seed)
    before = AttenGeo(CONFIG).state_dict()
    after = train_attengeo(dataclasses.replace(SHORT, steps=3, frozen_layers=2), SQUARES, tmp_path, model_config=CONFIG).state_dict()
    assert not torch.equal(after["backbone.stages.0.blocks.0.conv_dw.weight"], before["backbone.stages.0.blocks.0.conv_dw.weight"])


class Ending:
    """Noise with boxes; the draw of step `end` is an error, as in a run that is stopped."""

    def __init__(self, end: int) -> None:
        self.end = end

    def batch_of(self, number: int) -> ObjectBatch:
        if number == self.end:
            raise InputError("the end")
        rng = np.random.default_rng(number)
        photos, windows = (torch.from_numpy(rng.integers(0, 256, (2, 3, side, side), np.uint8)) for side in (64, 96))
        boxes = torch.tensor([[10.0, 20, 60, 70], [30, 30, 50, 90]])
        return ObjectBatch(photos, torch.tensor([[30.0, 30], [9, 50]]), windows, boxes)


@pytest.mark.slow
def test_a_run_of_detgeo_that_was_stopped_comes_to_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    config = DetGeoConfig(window_px=96, photo_px=64)
    how = dataclasses.replace(SHORT, steps=2, checkpoint_s=0.0, average=0.0)
    wanted = train_attengeo(
        dataclasses.replace(how, checkpoint_s=100.0), Ending(9), tmp_path / "unbroken", model_config=config
    ).state_dict()
    with pytest.raises(InputError, match="the end"):
        train_attengeo(how, Ending(1), tmp_path / "stopped", model_config=config)
    found = train_attengeo(how, Ending(9), tmp_path / "stopped", model_config=config).state_dict()
    assert wanted["reference_map.norm.num_batches_tracked"] == 2
    torch.testing.assert_close(dict(found), dict(wanted), atol=1e-6, rtol=1e-5)
    for name in ("unbroken", "stopped"):
        (tmp_path / name / "checkpoint.pt").unlink()  # pytest keeps what tests leave, and these are of a gigabyte


def test_both_backbones_of_detgeo_learn_at_their_own_rate_and_what_leads_nowhere_at_none() -> None:
    model = DetGeo(DetGeoConfig(window_px=96))
    task = AttenGeoTask(dataclasses.replace(SHORT, backbone_lr=1e-3), model)
    rates = {id(p): group["lr"] for group in task.groups() for p in group["params"]}
    for name, parameter in model.named_parameters():
        unused = ".unused." in name or ".neck_32.sixth." in name
        assert rates.get(id(parameter)) == (None if unused else 1e-3 if name.startswith(("photo_net.", "window_net.")) else 4e-3), name


def test_detgeo_has_no_layers_to_freeze_and_no_backbone_to_load(tmp_path: Path) -> None:
    config = DetGeoConfig(window_px=96)
    with pytest.raises(ValueError, match="detgeo is trained whole; freeze 0 layers of it, not 6"):
        AttenGeoTask(AttenGeoTraining(), DetGeo(config))
    with pytest.raises(ValueError, match="detgeo starts from whole weights"):
        train_attengeo(SHORT, SQUARES, tmp_path, model_config=config, backbone_state={})


def judged(raw: Tensor, boxes: Tensor) -> BoxAccuracy:
    """Judge clicks that a model answers with one raw prediction for all, or one each."""
    blank = torch.zeros(len(boxes), 3, 48, 48, dtype=torch.uint8)
    model: Any = _Fixed(raw)
    return evaluate_attengeo(model, [ObjectBatch(blank, torch.zeros(len(boxes), 2), blank, boxes)])


class _Fixed(nn.Module):
    """Answers every window with one raw prediction."""

    def __init__(self, raw: Tensor) -> None:
        super().__init__()
        self.raw, self.config = raw, CONFIG
        self.anchors = torch.tensor(CONFIG.anchors)

    def forward(self, windows: Tensor, photos: Tensor, clicks: Tensor) -> Tensor:
        return self.raw.expand(len(windows), -1, -1, -1, -1)


def test_accuracy_counts_clicks_and_clips_answers_to_the_window() -> None:
    raw = torch.full((1, 2, 5, 6, 6), -9.0)
    raw[0, 1, :, 0, 0] = torch.tensor([-9.0, -9.0, 0.0, 0.0, 9.0])  # 20 x 20 px centred on the corner: 10 x 10 inside
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20], [0, 0, 10, 36], [20, 20, 40, 40]])  # IoU 1, 1/2, 5/18, 0
    accuracy = judged(raw, boxes)
    assert (accuracy.accu_25, accuracy.clicks) == (0.75, 4)
    assert accuracy.accu_50 in (0.25, 0.5)  # the second stands on the edge
    assert accuracy.median_iou == pytest.approx(5 / 18, abs=0.01)
    assert accuracy.told_apart is None


def test_clicks_on_nothing_count_for_no_box_but_are_told_apart_by_confidence() -> None:
    raw = torch.full((3, 2, 5, 6, 6), -9.0)
    raw[:, 1, :, 0, 0] = torch.tensor([-9.0, -9.0, 0.0, 0.0, 9.0])
    raw[1, 1, 4, 0, 0], raw[2, 1, 4, 0, 0] = -3.0, 9.0  # a click on nothing that the model is unsure of, and one it is as sure of
    boxes = torch.tensor([[0.0, 0, 10, 10], [torch.nan] * 4, [torch.nan] * 4])
    accuracy = judged(raw, boxes)
    assert (accuracy.accu_25, accuracy.accu_50, accuracy.clicks, accuracy.told_apart) == (1.0, 1.0, 1, 0.75)
