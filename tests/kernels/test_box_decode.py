"""kernels/box_decode.py: decoding to image pixels against loops, IoU against shapely, targets that decode to the box they came from."""

import math

import numpy as np
import pytest
import torch
from shapely.geometry import box as rectangle

from crossgeo.kernels.box_decode import box_iou, decode_best, decode_boxes, encode_targets, fuse_boxes

ANCHORS = ((10.0, 12.0), (40.0, 20.0), (25.0, 60.0))


def test_decoding_gives_pixels_of_the_whole_window() -> None:
    raw = torch.randn(2, 3, 5, 4, 7, generator=torch.Generator().manual_seed(0))
    boxes, confidence = decode_boxes(raw, ANCHORS, 16)
    assert boxes.shape == (2, 3, 4, 7, 4)
    for image, anchor, row, column in [(0, 0, 0, 0), (1, 2, 3, 6), (0, 1, 2, 5)]:
        tx, ty, tw, th, logit = raw[image, anchor, :, row, column].tolist()
        x = (column + 1 / (1 + math.exp(-tx))) * 16
        y = (row + 1 / (1 + math.exp(-ty))) * 16
        w, h = ANCHORS[anchor][0] * math.exp(tw), ANCHORS[anchor][1] * math.exp(th)
        assert boxes[image, anchor, row, column].tolist() == pytest.approx([x - w / 2, y - h / 2, x + w / 2, y + h / 2], abs=1e-3)
        assert confidence[image, anchor, row, column].item() == pytest.approx(1 / (1 + math.exp(-logit)))


def test_the_best_box_is_that_of_highest_confidence_even_where_sigmoids_saturate() -> None:
    raw = torch.zeros(1, 3, 5, 4, 7)
    raw[0, 0, 4, 1, 1] = 60.0
    raw[0, 2, 4, 3, 5] = 61.0  # both sigmoids are 1.0 in float32
    boxes, confidence = decode_best(raw, ANCHORS, 16)
    assert boxes[0].tolist() == pytest.approx([5.5 * 16 - 12.5, 3.5 * 16 - 30, 5.5 * 16 + 12.5, 3.5 * 16 + 30])
    assert confidence.item() == pytest.approx(1.0)


def test_an_untrained_log_size_does_not_overflow() -> None:
    raw = torch.full((1, 3, 5, 2, 2), 500.0)
    assert decode_boxes(raw, ANCHORS, 16)[0].isfinite().all()


def test_decoding_takes_the_anchors_as_a_tensor_and_half_precision_predictions() -> None:
    raw = torch.randn(1, 3, 5, 5, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(decode_best(raw, torch.tensor(ANCHORS), 8), decode_best(raw, ANCHORS, 8))
    assert decode_best(raw.bfloat16(), ANCHORS, 8)[0].dtype == torch.float32


def test_predictions_of_another_number_of_anchors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(B, 3, 5, h, w\), not \(1, 9, 5, 4, 4\)"):
        decode_boxes(torch.zeros(1, 9, 5, 4, 4), ANCHORS, 16)


def test_iou_is_that_of_the_rectangles() -> None:
    corners = torch.rand(40, 2, 2, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 30
    a, b = (torch.cat([corners[:, k].amin(1), corners[:, k].amax(1)], dim=1) for k in (0, 1))
    shapes = [(rectangle(*p.tolist()), rectangle(*q.tolist())) for p, q in zip(a, b, strict=True)]
    expected = [p.intersection(q).area / p.union(q).area for p, q in shapes]
    assert box_iou(a, b).tolist() == pytest.approx(expected, abs=1e-4)
    assert sum(value > 0 for value in expected) > 5


def test_boxes_without_area_or_apart_have_iou_zero() -> None:
    point = torch.tensor([3.0, 3.0, 3.0, 3.0])
    assert box_iou(point, point).item() == 0.0
    assert box_iou(torch.tensor([0.0, 0, 2, 2]), torch.tensor([2.0, 2, 4, 4])).item() == 0.0


def test_equal_boxes_far_apart_do_not_pass_for_each_other() -> None:
    here, there = torch.tensor([10.0, 10, 50, 50]), torch.tensor([310.0, 10, 350, 50])  # alike relative to their own cells
    assert box_iou(here, there).item() == 0.0
    assert box_iou(here, here).item() == 1.0


def test_targets_written_as_predictions_decode_to_the_true_boxes() -> None:
    generator = torch.Generator().manual_seed(3)
    centre = torch.rand(20, 2, generator=generator) * torch.tensor([112.0, 64.0])
    size = torch.rand(20, 2, generator=generator) * 50 + 5
    boxes = torch.cat([centre - size / 2, centre + size / 2], dim=1)
    targets = encode_targets(boxes, ANCHORS, 16, (4, 7))
    raw = torch.zeros(20, 3, 5, 4, 7)
    for i in range(20):
        at = raw[i, targets.anchor[i], :, targets.row[i], targets.column[i]]
        at[:2] = torch.logit(targets.offset[i])
        at[2:4] = targets.log_size[i]
        at[4] = 5.0
    torch.testing.assert_close(decode_best(raw, ANCHORS, 16)[0], boxes, atol=1e-3, rtol=0)


def test_the_target_is_the_prior_of_best_iou() -> None:
    boxes = torch.tensor([[30.0, 22, 72, 46], [5, 3, 16, 15], [60, 0, 84, 58]])
    targets = encode_targets(boxes, ANCHORS, 16, (4, 7))
    for i, truth in enumerate(boxes):
        best = max(
            ((a, r, c) for a in range(3) for r in range(4) for c in range(7)),
            key=lambda p: rectangle(*truth.tolist()).intersection(_prior(*p)).area / rectangle(*truth.tolist()).union(_prior(*p)).area,
        )
        assert (targets.anchor[i].item(), targets.row[i].item(), targets.column[i].item()) == best


def _prior(anchor: int, row: int, column: int) -> rectangle:
    x, y, (w, h) = (column + 0.5) * 16, (row + 0.5) * 16, ANCHORS[anchor]
    return rectangle(x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def test_a_box_centred_past_the_window_belongs_to_the_rim() -> None:
    targets = encode_targets(torch.tensor([[100.0, 50, 140, 90]]), ANCHORS, 16, (4, 7))  # centre at 120, 70 of 112 x 64
    assert (targets.row.item(), targets.column.item()) == (3, 6)
    assert targets.offset.tolist() == [[1.0, 1.0]]


def test_fused_boxes_are_the_mean_of_what_agrees_by_confidence() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [40, 40, 50, 50]])
    fused, sure = fuse_boxes(boxes, torch.tensor([0.6, 0.3, 0.7]))
    np.testing.assert_allclose(fused.numpy(), [2 * 0.3 / 0.9, 0, 10 + 2 * 0.3 / 0.9, 10], atol=1e-5)  # two that agree outweigh the best
    assert sure.item() == pytest.approx(0.6)
    alone, sure = fuse_boxes(boxes, torch.tensor([0.2, 0.1, 0.7]))
    np.testing.assert_allclose(alone.numpy(), [40, 40, 50, 50])
    assert sure.item() == pytest.approx(0.7)


def test_several_sets_of_boxes_are_fused_as_each_alone() -> None:
    torch.manual_seed(0)
    corners = torch.rand(2, 3, 700, 2) * 20
    boxes, confidence = torch.cat([corners, corners + 5 + torch.rand(2, 3, 700, 2) * 10], dim=-1), torch.rand(2, 3, 700)
    fused, sure = fuse_boxes(boxes, confidence)
    assert fused.shape == (2, 3, 4) and sure.shape == (2, 3)
    for row in range(2):
        for column in range(3):
            alone, sure_alone = fuse_boxes(boxes[row, column], confidence[row, column])
            torch.testing.assert_close(fused[row, column], alone)
            assert sure[row, column] == sure_alone


def test_a_box_without_area_is_still_an_answer() -> None:
    fused, _ = fuse_boxes(torch.tensor([[3.0, 4, 3, 4]]), torch.tensor([0.5]))
    np.testing.assert_allclose(fused.numpy(), [3, 4, 3, 4])
