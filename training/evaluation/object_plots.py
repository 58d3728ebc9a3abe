"""Pictures of a report on clicked objects: shares of right boxes by kind beside controls and published lines, and how boxes overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossgeo.training.datasets.published import published_boxes
from crossgeo.training.evaluation.drawing import panels, saved
from crossgeo.training.evaluation.objects import IOUS, FoundBox, by_kind, object_figures
from crossgeo.training.evaluation.objects_report import ObjectReport
from crossgeo.training.evaluation.statistics import Figure, over_seeds

ROW_IN = 0.24  # height of a row with one model
_MORE = 0.4  # of that for each model more
_GREY, _BLACK, _STRIPE = "dimgrey", "black", "0.96"
_DASHES = ("--", "-.", ":")


@dataclass(frozen=True)
class _Series:
    """One model's answers, as both pictures show them."""

    label: str
    found: Sequence[FoundBox]
    colour: str


@dataclass(frozen=True)
class _Mark:
    """One model's shares in a row."""

    shares: tuple[Figure, ...]  # of each of IOUS
    shape: str
    colour: str


_Row = tuple[str, list[_Mark]]


def save_object_plots(out: Path, report: ObjectReport) -> list[Path]:
    """Draw accu.png and iou.png of a report into `out`; return the files written. Raises UsageError where matplotlib is not installed."""
    title = f"{report.set_name}, {report.split}"
    every = _series(report)
    return [_accu(out / "accu.png", report, every, title), _overlaps(out / "iou.png", report, every, title)]


def _accu(path: Path, report: ObjectReport, every: Sequence[_Series], title: str) -> Path:
    """Draw each share with its interval: a row for all clicks and for each kind, then the controls and what was published."""
    groups = _rows(report, every)
    rows = [row for group in groups for row in group]
    edges = np.concatenate([[0.0], np.cumsum([1.0 + _MORE * (len(marks) - 1) for _, marks in rows])])
    figure, axes = panels(f"{title}: boxes found, with intervals of 95 %", len(IOUS), 1.4 + ROW_IN * float(edges[-1]))
    for number, (limit, one) in enumerate(zip(IOUS, axes, strict=True)):
        for row, (_, marks) in enumerate(rows):
            if row % 2 == 0:
                one.axhspan(edges[row], edges[row + 1], color=_STRIPE, linewidth=0, zorder=0)
            for turn, mark in enumerate(marks):
                _draw(one, mark, mark.shares[number], edges[row] + 0.5 + _MORE * turn)
        for group in np.cumsum([len(group) for group in groups])[:-1]:
            one.axhline(edges[group], color="grey", linewidth=0.5)
        # What the first model, or the mean over seeds, is to be compared with stands below: its share goes all the way down.
        one.axvline(100.0 * groups[0][-1][1][0].shares[number].value, color="0.6", linewidth=0.8, linestyle=":", zorder=0.5)
        one.set(xlabel=f"accu@{limit:g} (%)", xlim=(-2, 102), ylim=(edges[-1], 0.0))
        one.grid(axis="x", color="0.85", linewidth=0.5)
        one.tick_params(axis="y", length=0)
    axes[0].set_yticks((edges[:-1] + edges[1:]) / 2.0, [label for label, _ in rows], fontsize=8)
    for series in every:
        axes[0].plot([], [], "o", color=series.colour, markersize=4, label=series.label)
    return saved(figure, axes[0], path, columns=2)


def _overlaps(path: Path, report: ObjectReport, every: Sequence[_Series], title: str) -> Path:
    """Draw the share of boxes that overlap the truth by an IoU and more: at 0.25 and 0.5 it is accu@0.25 and accu@0.5."""
    figure, (axes,) = panels(f"{title}: how far boxes overlap the true ones")
    for series in every:
        _curve(axes, series.found, label=series.label, color=series.colour, linewidth=2)
    for (name, found), dash in zip(report.controls.items(), _DASHES, strict=False):
        _curve(axes, found, label=name, color=_GREY, linewidth=1, linestyle=dash)
    for limit in IOUS:
        axes.axvline(limit, color="grey", linewidth=0.5)
        axes.text(limit + 0.005, 101, f"accu@{limit:g}", color=_GREY, fontsize=8, verticalalignment="top")
    axes.set(xlabel="IoU", ylabel="boxes with that IoU and more (%)", xlim=(0, 1), ylim=(0, 102))
    return saved(figure, axes, path, columns=2)


def _draw(axes: Any, mark: _Mark, share: Figure, y: float) -> None:
    value, inside = 100.0 * share.value, "none" if mark.shape == "D" else mark.colour
    axes.plot([value], [y], mark.shape, color=mark.colour, markerfacecolor=inside, markersize=4)
    if share.low is not None and share.high is not None:
        reach = [[value - 100.0 * share.low], [100.0 * share.high - value]]
        axes.errorbar([value], [y], xerr=reach, fmt="none", ecolor=mark.colour, elinewidth=1, capsize=1.5)


def _curve(axes: Any, found: Sequence[FoundBox], **style: Any) -> None:
    overlaps = np.sort([one.iou for one in found])
    least = 100.0 * (1.0 - np.arange(len(overlaps) + 1) / len(overlaps))  # (N + 1,): above each of them and all before it
    axes.step([0.0, *overlaps, 1.0], [*least, 0.0], where="post", **style)


def _rows(report: ObjectReport, every: Sequence[_Series]) -> list[list[_Row]]:
    """Return the rows of the first picture from above, each a label and what is marked there: all clicks, kinds, controls, published."""
    figures = [{"all clicks": object_figures(series.found), **by_kind(series.found)} for series in every]
    kinds: list[_Row] = []
    for kind, first in figures[0].items():
        marks = [_Mark(_shares(own[kind]), "o", one.colour) for one, own in zip(every, figures, strict=True)]
        kinds.append((f"{kind} ({first['mean_iou'].count})", marks))
    whole = [kinds.pop(0)]
    if len(report.models) > 1:
        values = [[share.value for share in _shares(own["all clicks"])] for own in figures[: len(report.models)]]
        mean = tuple(over_seeds(list(of_limit)) for of_limit in zip(*values, strict=True))
        whole.append((f"mean over {len(report.models)} seeds", [_Mark(mean, "s", _BLACK)]))
    controls: list[_Row] = [(name, [_Mark(_shares(object_figures(found)), "o", _GREY)]) for name, found in report.controls.items()]
    published: list[_Row] = []
    for line in published_boxes(report.layout, report.split):
        exact = tuple(Figure(percent / 100.0, None, None, 0) for percent in line.accu)
        published.append((f"published: {line.method}", [_Mark(exact, "D", _BLACK)]))
    return [group for group in (whole, kinds, controls, published) if group]


def _shares(figures: Mapping[str, Figure]) -> tuple[Figure, ...]:
    return tuple(figures[f"accu@{limit:g}"] for limit in IOUS)


def _series(report: ObjectReport) -> list[_Series]:
    """Return the models' answers and those of the one that they are held against; models of one name are numbered."""
    names = [model.name for model in report.models]
    labels = [name if names.count(name) == 1 else f"{name}, seed {number + 1}" for number, name in enumerate(names)]
    every = [_Series(label, found, f"C{number}") for number, (label, found) in enumerate(zip(labels, report.found, strict=True))]
    if report.against is not None:
        every.append(_Series(f"against: {report.against[0].name}", report.against[1], f"C{len(every)}"))
    return every
