"""Pictures of a report: recall over k, the distribution of errors, and figures by field of view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossgeo.training.evaluation.cells import JudgedCell
from crossgeo.training.evaluation.drawing import panels, saved
from crossgeo.training.evaluation.places import NEAR_M, Answered, recall_figures
from crossgeo.training.evaluation.statistics import Figure, over_seeds, share

MOST_K = 100
SHOWN_M = (0.5, 1000.0)


def save_plots(out: Path, cells: Sequence[JudgedCell], references: int | None, title: str) -> list[Path]:
    """Draw what the cells hold into `out`: recall.png, errors.png, fov.png; return the files written.

    Raises UsageError where matplotlib is not installed.
    """
    written = []
    protocols = list(cells[0].models[0][0].ranks)
    if protocols and references is not None:
        written.append(_recall(out / "recall.png", cells[0], protocols[0], references, title))
    placed = [cell for cell in cells if any(one.metres is not None for one in cell.models[0])]
    if placed:
        written.append(_errors(out / "errors.png", placed, title))
    if len(cells) > 1:
        written.append(_by_fov(out / "fov.png", cells, protocols[0] if protocols else None, references, title))
    return written


def _recall(path: Path, cell: JudgedCell, protocol: str, references: int, title: str) -> Path:
    figure, (axes,) = panels(f"{title}: recall at k, protocol {protocol}, {_says(cell)}")
    at = np.arange(1, min(MOST_K, references) + 1)

    def line(answered: Sequence[Answered], label: str, **style: Any) -> None:
        ranks = np.array([one.ranks[protocol] for one in answered])
        axes.plot(at, [100.0 * (ranks <= k).mean() for k in at], label=label, **style)

    for number, answered in enumerate(cell.models):
        line(answered, "model" if len(cell.models) == 1 else f"model, seed {number + 1}", linewidth=2)
    for name, answered in cell.controls.items():
        line(answered, name, linestyle="--", linewidth=1)
    axes.plot(at, 100.0 * at / references, ":", color="grey", label="chance, one right reference")
    axes.set(xscale="log", xlabel="k", ylabel="questions with a right reference among the first k (%)", ylim=(0, 102))
    return saved(figure, axes, path)


def _errors(path: Path, cells: Sequence[JudgedCell], title: str) -> Path:
    figure, (axes,) = panels(f"{title}: distance from the truth{'' if len(cells[0].models) == 1 else ', first seed'}")
    for cell in cells:
        metres = np.sort([np.inf if one.metres is None else max(one.metres, SHOWN_M[0]) for one in cell.models[0]])
        shares = 100.0 * np.arange(1, len(metres) + 1) / len(metres)
        kept = np.isfinite(metres)
        axes.step([SHOWN_M[0], *metres[kept], SHOWN_M[1]], [0.0, *shares[kept], 100.0 * kept.mean()], where="post", label=_says(cell))
    axes.set(xscale="log", xlabel="metres", ylabel="photos placed within (%)", xlim=SHOWN_M, ylim=(0, 102))
    for limit in (1.0, 5.0, 25.0, 50.0):
        axes.axvline(limit, color="grey", linewidth=0.5)
    return saved(figure, axes, path)


def _by_fov(path: Path, cells: Sequence[JudgedCell], protocol: str | None, references: int | None, title: str) -> Path:
    def of_models(cell: JudgedCell) -> Figure:
        return value(cell.models[0]) if len(cell.models) == 1 else over_seeds([value(answered).value for answered in cell.models])

    def value(answered: Sequence[Answered]) -> Figure:
        if metric:
            return share([one.metres is not None and one.metres <= NEAR_M for one in answered])
        assert protocol is not None and references is not None
        return recall_figures(answered, references)[protocol]["R@1"]

    metric = any(one.metres is not None for cell in cells for one in cell.models[0])
    what = f"photos within {NEAR_M:g} m (%)" if metric else f"R@1 (%), protocol {protocol}"
    mean = "" if len(cells[0].models) == 1 else f", mean over {len(cells[0].models)} seeds"
    figure, (axes,) = panels(f"{title}: by field of view{mean}")
    fovs = list(dict.fromkeys(cell.fov_deg for cell in cells))
    marks = dict(zip(dict.fromkeys(name for cell in cells for name in cell.controls), "sdv", strict=False))
    for turn, heading in enumerate(dict.fromkeys(cell.heading for cell in cells)):
        own = [cell for cell in cells if cell.heading == heading]
        found = [of_models(cell) for cell in own]
        at = np.array([fovs.index(cell.fov_deg) for cell in own]) + 0.35 * turn
        middle = np.array([100.0 * one.value for one in found])
        # Student's interval of a few seeds may pass what a share can be.
        reach = [[100.0 * (one.value - max(0.0, one.low or 0.0)) for one in found],
                 [100.0 * (min(1.0, one.high or 1.0) - one.value) for one in found]]  # fmt: skip
        axes.bar(at, middle, width=0.3, yerr=reach, capsize=3, label=f"heading {heading}")
        for name, mark in marks.items():
            shown = [(place, value(cell.controls[name])) for place, cell in zip(at, own, strict=True) if name in cell.controls]
            label = name if turn == 0 else None
            axes.plot([place for place, _ in shown], [100.0 * one.value for _, one in shown], mark, color="black", label=label)
    axes.set(ylabel=what, ylim=(0, 102))
    axes.set_xticks(np.arange(len(fovs)) + 0.175, [f"{fov:g}°" if fov else "unknown" for fov in fovs])
    return saved(figure, axes, path)


def _says(cell: JudgedCell) -> str:
    fov = f"{cell.fov_deg:g}°" if cell.fov_deg else "field of view unknown"
    return fov if cell.heading_known is None else f"{fov}, heading {cell.heading}"
