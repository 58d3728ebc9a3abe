"""What all pictures of a report share: matplotlib where it is installed, axes without a window, and how a picture is saved."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossgeo.errors import UsageError

DPI = 130


def check_drawable() -> None:
    """Raise UsageError where matplotlib is not installed; it is looked for, not loaded."""
    if find_spec("matplotlib") is None:
        raise UsageError("plots need matplotlib: pip install 'crossgeo[train]', or leave --out away")


def panels(title: str, count: int = 1, height_in: float = 4.5) -> tuple[Any, list[Any]]:
    """Return a figure 7 inches wide and its axes side by side, which share their y axis; raise UsageError without matplotlib."""
    check_drawable()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, height_in), layout="constrained")  # no pyplot: no window, no state between plots
    axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    axes[0].set_title(title, fontsize=10, loc="left")
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def saved(figure: Any, axes: Any, path: Path, columns: int = 3) -> Path:
    """Write a figure as PNG with the legend below its axes; return its path."""
    if axes.get_xscale() == "log":
        axes.xaxis.set_major_formatter("{x:g}")
    figure.legend(loc="outside lower left", ncols=columns, frameon=False, fontsize=8)
    figure.savefig(path, dpi=DPI)
    return path
