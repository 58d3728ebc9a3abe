"""The reliability plot: what was told against what came true on held-out ground, a panel a distance, with Pillow alone."""

from __future__ import annotations

from pathlib import Path

from crossgeo.engine.calibrate.chances import TOLD_M
from crossgeo.engine.pen import Pen
from crossgeo.training.calibration.held_out import HeldOut, reliability
from crossgeo.training.evaluation.statistics import share

_SIDE, _GAP, _TOP, _LEFT = 220.0, 56.0, 72.0, 60.0
_INK, _GREY, _LINE, _DOT = "#1d2530", "#8a94a0", "#d5dae0", "#1f6fb2"


def save_reliability(path: Path, held: HeldOut, title: str, note: str) -> None:
    """Draw chances told (across) against shares that came true (up) in bins of as many pairs each, with their Wilson intervals of 95 %."""
    width = round(_LEFT + len(TOLD_M) * (_SIDE + _GAP))
    pen = Pen(width, round(_TOP + _SIDE + 70.0), "white")
    pen.text((_LEFT, 28.0), pen.fitted(title, 17, width - 2 * _LEFT), 17, _INK, bold=True)
    pen.text((_LEFT, 50.0), pen.fitted(note, 13, width - 2 * _LEFT), 13, _GREY)
    for number, limit in enumerate(TOLD_M):
        left = _LEFT + number * (_SIDE + _GAP)

        def at(x: float, y: float, left: float = left) -> tuple[float, float]:
            return left + x * _SIDE, _TOP + (1.0 - y) * _SIDE

        for mark in (0.0, 0.25, 0.5, 0.75, 1.0):
            pen.line([at(mark, 0.0), at(mark, 1.0)], _LINE, 1.0)
            pen.line([at(0.0, mark), at(1.0, mark)], _LINE, 1.0)
            if mark in (0.0, 0.5, 1.0):
                pen.text((at(mark, 0.0)[0], _TOP + _SIDE + 16.0), f"{mark:g}", 11, _GREY, "ms")
                pen.text((left - 8.0, at(0.0, mark)[1]), f"{mark:g}", 11, _GREY, "rm")
        pen.dashes([at(0.0, 0.0), at(1.0, 1.0)], _GREY, 1.5)
        for told, right, count in reliability(held.told[:, number], held.distances_m <= limit):
            # Every split tells of a pair again: the interval goes by the pairs of one split.
            alone = max(1, round(count / held.splits))
            interval = share([True] * round(right * alone) + [False] * (alone - round(right * alone)))
            pen.line([at(told, interval.low or 0.0), at(told, interval.high or 1.0)], _DOT, 1.5)
            pen.disc(at(told, right), 4.0, _DOT)
        pen.text((left + _SIDE / 2, _TOP + _SIDE + 36.0), f"told: within {limit:g} m", 13, _INK, "ms")
    pen.text((14.0, _TOP - 10.0), "came true", 13, _INK)
    pen.finish().save(path, format="PNG")
