"""The picture of a run: loss, learning rate and what the judge said, each over steps, drawn from its log with Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from crossgeo import disk
from crossgeo.engine.pen import Pen
from crossgeo.training.journal import Row, read_rows

WIDTH, PANEL, MARGIN, LEFT = 1000, 210, 26, 92
_INK, _GREY, _PAPER, _GRID, _LINE = "#1F2933", "#66717D", "#FFFFFF", "#E3E7EB", "#1D5FA8"
_OTHER = ("step", "minutes", "skipped", "skipped_in_all", "tiles", "clicks")
Curve = list[tuple[float, float]]


def curves_of(rows: Sequence[Row]) -> dict[str, Curve]:
    """Return (step, value) points of each number in a log: the loss first, its parts and the learning rate, then what was judged."""
    curves: dict[str, Curve] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, int | float) and name not in _OTHER and math.isfinite(value):
                curves.setdefault(name, []).append((float(row["step"]), float(value)))
    return dict(sorted(curves.items(), key=lambda item: item[0] != "loss"))


def save_curves(log: Path, out: Path) -> None:
    """Draw the curves of a log as PNG; a log without numbers yet leaves no picture. Raises LimitError on a full disk."""
    curves = curves_of(read_rows(log))
    if not curves:
        return
    pen = Pen(WIDTH, MARGIN + len(curves) * PANEL, _PAPER)
    last = max(step for curve in curves.values() for step, _ in curve)
    for number, (name, curve) in enumerate(curves.items()):
        _panel(pen, MARGIN + number * PANEL, name, curve, last)
    with disk.replacing(out, durable=False) as temporary:
        pen.finish().save(temporary, format="PNG")


def _panel(pen: Pen, top: float, name: str, curve: Curve, last: float) -> None:
    x0, x1, y0, y1 = float(LEFT), WIDTH - float(MARGIN), top + 24.0, top + PANEL - 34.0
    values = [value for _, value in curve]
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5 * max(abs(low), 1e-6), high + 0.5 * max(abs(high), 1e-6)
    pen.text((x0, top + 12), name, 16, _INK, bold=True)
    pen.text((x1, top + 12), f"{values[-1]:.4g} at step {curve[-1][0]:.0f}", 14, _GREY, "rs")
    for share in (0.0, 0.5, 1.0):
        y = y1 - share * (y1 - y0)
        pen.line([(x0, y), (x1, y)], _GRID, 1.0)
        pen.text((x0 - 8, y), f"{low + share * (high - low):.4g}", 13, _GREY, "rm")
        pen.text((x0 + share * (x1 - x0), y1 + 18), f"{share * last:.0f}", 13, _GREY, "mm")
    points = [(x0 + step / last * (x1 - x0), y1 - (value - low) / (high - low) * (y1 - y0)) for step, value in curve]
    if len(points) > 1:
        pen.line(points, _LINE, 2.0)
    for point in points if len(points) < 40 else points[-1:]:
        pen.disc(point, 3.0, _LINE)
