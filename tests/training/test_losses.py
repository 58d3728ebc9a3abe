"""training/losses.py against the papers' equations written as loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from crossgeo.kernels.box_decode import decode_best
from crossgeo.training.losses import attengeo_loss, egotr_loss

ANCHORS = ((10.0, 12.0), (40.0, 20.0), (25.0, 60.0))


def _softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def _pairs(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    return tuple(F.normalize(torch.randn(count, 8, generator=generator), dim=1) for _ in range(2))  # type: ignore[return-value]


def test_egotr_loss_is_equation_1_over_every_negative_in_both_directions() -> None:
    ground, aerial = _pairs()
    squared = [[float((g - a).square().sum()) for a in aerial] for g in ground]
    terms = []
    for i in range(5):
        for j in range(5):
            if i != j:
                terms.append(_softplus(10 * (squared[i][i] - squared[i][j])))  # photo i, the tile of another
                terms.append(_softplus(10 * (squared[i][i] - squared[j][i])))  # tile i, the photo of another
    assert egotr_loss(ground, aerial).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_egotr_loss_leaves_out_pairs_on_the_same_ground() -> None:
    ground, aerial = _pairs(3)
    same = torch.zeros(3, 3, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    squared = [[float((g - a).square().sum()) for a in aerial] for g in ground]
    terms = [
        (_softplus(10 * (squared[i][i] - squared[i][j])) + _softplus(10 * (squared[j][j] - squared[i][j]))) / 2
        for i, j in [(0, 2), (2, 0), (1, 2), (2, 1)]
    ]
    assert egotr_loss(ground, aerial, leave_out=same).item() == pytest.approx(sum(terms) / 4, rel=1e-5)
    assert egotr_loss(ground, aerial, leave_out=torch.ones(3, 3, dtype=torch.bool)).item() == 0.0


def test_egotr_loss_falls_as_pairs_meet_and_a_batch_of_one_has_no_negatives() -> None:
    ground, aerial = _pairs()
    assert egotr_loss(ground, ground) < egotr_loss(ground, aerial)
    assert egotr_loss(ground[:1], aerial[:1]).item() == 0.0


def test_egotr_loss_has_gradients_that_pass_gradcheck_and_survive_large_differences() -> None:
    ground, aerial = (t.double().requires_grad_() for t in _pairs(4))
    assert torch.autograd.gradcheck(lambda g, a: egotr_loss(g, a, alpha=2.0), (ground, aerial), eps=1e-3, atol=1e-2, rtol=1e-2)
    far = (ground.detach() * 100).requires_grad_()
    egotr_loss(far, aerial).backward()
    assert far.grad is not None
    assert far.grad.isfinite().all()


def test_attengeo_loss_is_equations_9_to_11() -> None:
    raw = torch.randn(2, 3, 5, 4, 7, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[30.0, 22, 72, 46], [60, 0, 84, 58]])  # anchor 1, row 2, column 3; anchor 2, row 1, column 4
    at = [(0, 1, 2, 3), (1, 2, 1, 4)]
    confidence = 0.0
    for image in range(2):
        for a in range(3):
            for row in range(4):
                for column in range(7):
                    p = 1 / (1 + math.exp(-raw[image, a, 4, row, column].item()))
                    confidence -= math.log(p) if (image, a, row, column) in at else math.log(1 - p)
    offset = size = 0.0
    for (image, a, row, column), truth in zip(at, boxes.tolist(), strict=True):
        tx, ty, tw, th, _ = raw[image, a, :, row, column].tolist()
        x, y, w, h = (truth[0] + truth[2]) / 2, (truth[1] + truth[3]) / 2, truth[2] - truth[0], truth[3] - truth[1]
        offset += (1 / (1 + math.exp(-tx)) - (x / 16 - column)) ** 2 + (1 / (1 + math.exp(-ty)) - (y / 16 - row)) ** 2
        size += (tw - math.log(w / ANCHORS[a][0])) ** 2 + (th - math.log(h / ANCHORS[a][1])) ** 2
    loss = attengeo_loss(raw, boxes, ANCHORS, 16)
    assert loss.confidence.item() == pytest.approx(confidence / 2, rel=1e-5)
    assert loss.offset.item() == pytest.approx(offset / 2, rel=1e-5)
    assert loss.size.item() == pytest.approx(size / 2, rel=1e-5)
    assert loss.total(3.0).item() == pytest.approx((confidence + 3 * (offset + size)) / 2, rel=1e-5)


def test_the_overlap_of_the_loss_is_what_the_decoded_box_misses() -> None:
    raw = torch.zeros(1, 3, 5, 4, 7)  # sigmoid(0) is the middle of a cell, exp(0) the anchor itself
    width, height = ANCHORS[1]
    x, y = 3.5 * 16, 2.5 * 16
    right = torch.tensor([[x - width / 2, y - height / 2, x + width / 2, y + height / 2]])
    assert attengeo_loss(raw, right, ANCHORS, 16).overlap.item() == pytest.approx(0.0, abs=1e-5)
    half = right.clone()
    half[0, 2] = x  # the left half of it
    half[0, 0] = x - width / 2
    loss = attengeo_loss(raw, half.clone(), ((width, height),) * 3, 16)
    assert 0.0 < loss.overlap.item() < 1.0
    assert loss.total(1.0, 2.0).item() == pytest.approx(loss.total(1.0).item() + 2.0 * loss.overlap.item(), rel=1e-6)


def test_boxes_learn_at_the_true_prior_alone_and_confidence_everywhere() -> None:
    raw = torch.randn(1, 3, 5, 4, 7, generator=torch.Generator().manual_seed(1), requires_grad=True)
    attengeo_loss(raw, torch.tensor([[30.0, 22, 72, 46]]), ANCHORS, 16).total().backward()
    assert raw.grad is not None
    assert (raw.grad[:, :, 4] != 0).all()
    touched = (raw.grad[0, :, :4] != 0).nonzero().tolist()
    assert touched == [[1, k, 2, 3] for k in range(4)]


def test_spared_anchors_of_the_true_cell_are_not_called_false_and_learn_the_box() -> None:
    anchors = ((40.0, 20.0), (36.0, 26.0), (20.0, 60.0))  # they fit 42 x 24 px at IoU 0.79, 0.80 and 0.28
    boxes = torch.tensor([[30.0, 22, 72, 46]])
    raw = torch.randn(1, 3, 5, 4, 7, generator=torch.Generator().manual_seed(2), requires_grad=True)
    attengeo_loss(raw, boxes, anchors, 16, spare_iou=0.5).total().backward()
    assert raw.grad is not None
    assert (raw.grad[0, :, 4] == 0).nonzero().tolist() == [[0, 2, 3]]
    touched = {(a, k, row, column) for a, k, row, column in (raw.grad[0, :, :4] != 0).nonzero().tolist()}
    assert touched == {(a, k, 2, 3) for a in (0, 1) for k in range(4)}


def test_a_click_on_nothing_teaches_every_prior_to_stay_silent_and_no_box() -> None:
    raw = torch.randn(2, 3, 5, 4, 7, generator=torch.Generator().manual_seed(3), requires_grad=True)
    boxes = torch.tensor([[30.0, 22, 72, 46], [torch.nan] * 4])
    loss = attengeo_loss(raw, boxes, ANCHORS, 16, spare_iou=0.5)
    alone = attengeo_loss(raw[:1], boxes[:1], ANCHORS, 16, spare_iou=0.5)
    silent = F.softplus(raw[1, :, 4]).sum()
    assert loss.confidence.item() == pytest.approx((alone.confidence.item() + silent.item()) / 2, rel=1e-5)
    for name in ("offset", "size", "overlap"):
        assert getattr(loss, name).item() == pytest.approx(getattr(alone, name).item(), rel=1e-5)
    loss.total(2.0, 1.0).backward()
    assert raw.grad is not None and raw.grad.isfinite().all()
    assert (raw.grad[1, :, 4] > 0).all() and not raw.grad[1, :, :4].any()
    nothing = attengeo_loss(raw.detach(), torch.full((2, 4), torch.nan), ANCHORS, 16)
    assert nothing.offset.item() == nothing.size.item() == nothing.overlap.item() == 0.0


def test_following_the_gradient_finds_the_box() -> None:
    raw = torch.zeros(1, 3, 5, 4, 7, requires_grad=True)
    boxes = torch.tensor([[33.0, 25, 70, 41]])
    optimiser = torch.optim.Adam([raw], lr=0.3)
    for _ in range(120):
        optimiser.zero_grad()
        attengeo_loss(raw, boxes, ANCHORS, 16).total().backward()
        optimiser.step()
    best, confidence = decode_best(raw.detach(), ANCHORS, 16)
    torch.testing.assert_close(best, boxes, atol=0.5, rtol=0)
    assert confidence.item() > 0.9
