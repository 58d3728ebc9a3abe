"""The best box in Triton: `decode_best` of crossgeo.kernels.box_decode without decoding the others."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from crossgeo.kernels.box_decode import MAX_LOG_SIZE

_STEP = 1024  # logits that a program reads at a time
_PART = 16 * _STEP  # logits of a program; larger grids are searched by several


@triton.jit
def _best_key(raw, begin, end, rows, columns, anchor_stride, field_stride, row_stride, column_stride, STEP: tl.constexpr):
    """Return the largest key of an image's logits from `begin` to `end`: the logit above the index, such that the first of equals wins."""
    best = tl.full((STEP,), -(2**63), tl.int64)
    while begin < end:
        index = begin + tl.arange(0, STEP)
        row, column = index // columns % rows, index % columns
        at = (index // (rows * columns)).to(tl.int64) * anchor_stride + row.to(tl.int64) * row_stride + column.to(tl.int64) * column_stride
        logit = tl.load(raw + 4 * field_stride + at, index < end, float("-inf")).to(tl.float32) + 0.0  # -0 is 0
        bits = logit.to(tl.int32, bitcast=True)
        ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # whole numbers in the order of the logits
        ordered = tl.where(logit != logit, 0x7FFFFFFF, ordered)  # noqa: PLR0124  # NaN is the largest, as torch has it
        key = (ordered.to(tl.int64) << 32) | (0x7FFFFFFF - index).to(tl.int64)
        best = tl.maximum(best, tl.where(index < end, key, -(2**63)))
        begin += STEP
    return tl.max(best, 0)


@triton.jit
def _put(
    raw, key, anchors, boxes, confidence, image, rows, columns, stride, anchor_stride, field_stride, row_stride, column_stride,
    MOST: tl.constexpr,
):  # fmt: skip
    """Decode the box of a key."""
    index = 0x7FFFFFFF - (key & 0x7FFFFFFF)
    anchor, row, column = index // (rows * columns), index // columns % rows, index % columns
    at = raw + anchor * anchor_stride + row * row_stride + column * column_stride
    x = (tl.sigmoid(tl.load(at).to(tl.float32)) + column.to(tl.float32)) * stride
    y = (tl.sigmoid(tl.load(at + field_stride).to(tl.float32)) + row.to(tl.float32)) * stride
    wide, high = tl.load(at + 2 * field_stride).to(tl.float32), tl.load(at + 3 * field_stride).to(tl.float32)
    # Comparisons that leave NaN what it is, as torch's clamp does.
    wide = tl.where(wide > MOST, MOST, tl.where(wide < -MOST, -MOST, wide))
    high = tl.where(high > MOST, MOST, tl.where(high < -MOST, -MOST, high))
    half_w = tl.exp(wide) * tl.load(anchors + anchor * 2) / 2
    half_h = tl.exp(high) * tl.load(anchors + anchor * 2 + 1) / 2
    tl.store(boxes + image * 4, x - half_w)
    tl.store(boxes + image * 4 + 1, y - half_h)
    tl.store(boxes + image * 4 + 2, x + half_w)
    tl.store(boxes + image * 4 + 3, y + half_h)
    tl.store(confidence + image, tl.sigmoid(tl.load(at + 4 * field_stride).to(tl.float32)))


@triton.jit
def _whole(
    raw, anchors, boxes, confidence, count, rows, columns, stride,
    image_stride, anchor_stride, field_stride, row_stride, column_stride, MOST: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """Search one image and decode its best box."""
    image = tl.program_id(0).to(tl.int64)
    raw += image * image_stride
    key = _best_key(raw, tl.full((), 0, tl.int32), count, rows, columns, anchor_stride, field_stride, row_stride, column_stride, STEP)
    _put(raw, key, anchors, boxes, confidence, image, rows, columns, stride, anchor_stride, field_stride, row_stride, column_stride, MOST)


@triton.jit
def _part(
    raw, keys, parts, count, rows, columns, image_stride, anchor_stride, field_stride, row_stride, column_stride,
    PART: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """Search one part of an image."""
    program = tl.program_id(0).to(tl.int64)
    begin = (program % parts).to(tl.int32) * PART
    end = tl.minimum(begin + PART, count)
    raw += program // parts * image_stride
    tl.store(keys + program, _best_key(raw, begin, end, rows, columns, anchor_stride, field_stride, row_stride, column_stride, STEP))


@triton.jit
def _join(
    raw, keys, anchors, boxes, confidence, parts, rows, columns, stride,
    image_stride, anchor_stride, field_stride, row_stride, column_stride, MOST: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Decode the best box of the parts of one image."""
    image = tl.program_id(0).to(tl.int64)
    part = tl.arange(0, PARTS)
    key = tl.max(tl.load(keys + image * parts + part, part < parts, -(2**63)), 0)
    raw += image * image_stride
    _put(raw, key, anchors, boxes, confidence, image, rows, columns, stride, anchor_stride, field_stride, row_stride, column_stride, MOST)


def decode_best(raw: Tensor, anchors: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Return the best box of (B, A, 5, h, w) raw predictions, in any memory order, with (A, 2) float32 anchors: (B, 4) and (B,)."""
    batch, priors, _, rows, columns = raw.shape
    boxes = torch.empty((batch, 4), dtype=torch.float32, device=raw.device)
    confidence = torch.empty((batch,), dtype=torch.float32, device=raw.device)
    anchors, count = anchors.contiguous(), priors * rows * columns
    parts = triton.cdiv(count, _PART)
    with torch.cuda.device_of(raw):
        if parts == 1:
            _whole[(batch,)](
                raw, anchors, boxes, confidence, count, rows, columns, stride, *raw.stride(), MOST=MAX_LOG_SIZE, STEP=_STEP, num_warps=4
            )
        else:
            keys = torch.empty((batch, parts), dtype=torch.int64, device=raw.device)
            _part[(batch * parts,)](raw, keys, parts, count, rows, columns, *raw.stride(), PART=_PART, STEP=_STEP, num_warps=4)
            _join[(batch,)](
                raw, keys, anchors, boxes, confidence, parts, rows, columns, stride, *raw.stride(),
                MOST=MAX_LOG_SIZE, PARTS=triton.next_power_of_2(parts), num_warps=1,
            )  # fmt: skip
    return boxes, confidence
