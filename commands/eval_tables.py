"""Tables of `geo eval`: figures with their intervals, controls and chance in grey below them, published lines at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

Json = Mapping[str, Any]

METRES = {"median_m": "median", "within_1_m": "1 m", "within_5_m": "5 m", "within_25_m": "25 m", "within_50_m": "50 m"}
HEADING = {"median_deg": "turned", "within_10_deg": "10°"}
RECALLS = ("R@1", "R@5", "R@10", "R@1%")


def retrieval_tables(report: Json) -> list[Table | Text]:
    """Return a table of each protocol with what was published, one in metres, and a line where fields of view were guessed."""
    cells = report["cells"]
    tables = [_recalls(f"{report['set']['name']} {report['set']['split']}, protocol {name}: {says}", name, cells, report)
              for name, says in report["protocols"].items() if name != "place-back"]  # fmt: skip
    if report["place-back"] is not None:
        tables.append(_recalls(f"protocol place-back: {report['protocols']['place-back']}", "place-back", [report["place-back"]], report))
    lens, photos = report["field_of_view"], report["set"]["photos"]
    guessed = f"{lens['not_said']} of {photos} photos do not say their field of view, which was taken for {lens['assumed_deg']:g}°."
    return [*tables, *_metres(report, "Best aerial picture against the photo's place"), *([Text(guessed)] if lens["not_said"] else [])]


def places_tables(report: Json) -> list[Table]:
    """Return the table in metres and one of statuses."""
    table = _table("Statuses: answers, and how many of them lie within 25 m")
    table.add_column("photos")
    table.add_column("")
    every = [model["status"] for cell in report["cells"] for model in cell["models"]]
    names = sorted({name for status in every for name in status if not name.endswith("_within_25_m")})
    for name in names:
        table.add_column(name, justify="right")
    for cell in report["cells"]:
        for model, own in zip(report["models"], cell["models"], strict=True):
            status = own["status"]
            counts = (f"{status.get(name, 0)}, {status.get(f'{name}_within_25_m', 0)} right" for name in names)
            table.add_row(_cell(cell), model["name"], *counts)
    return [*_metres(report, f"{report['photos']} photos in {report['index']} ({report['tiles']} tiles)"), table]


def objects_tables(report: Json) -> list[Table]:
    """Return the table of boxes, by kind, with controls and what was published."""
    names = ["accu@0.25", "accu@0.5", "mean_iou", "median_m", "within_5_m"]
    table = _table(f"{report['set']['name']} {report['set']['split']}: boxes of {report['set']['objects']} clicked objects")
    table.add_column("")
    for name in ("accu@0.25", "accu@0.5", "mean IoU", "median", "5 m"):
        table.add_column(name, justify="right")
    for model in report["models"]:
        table.add_row(model["name"], *(_figure(model["figures"]["all"].get(name), name) for name in names))
    if report["over_seeds"]:
        table.add_row("over seeds", *(_figure(report["over_seeds"]["all"].get(name), name) for name in names))
    for kind, figures in report["models"][0]["figures"].items():
        if kind != "all":
            table.add_row(f"  {kind} ({figures['accu@0.25']['count']})", *(_figure(figures.get(name), name) for name in names))
    if report["against"]:
        table.add_row(
            f"more than {report['against']['name']}", *(_figure(report["against"]["difference"].get(name), name) for name in names)
        )
    for control, figures in report["controls"].items():
        table.add_row(control, *(_figure(figures.get(name), name) for name in names), style="dim")
    for line in report["published"]:
        table.add_row(f"published: {line['method']}", *(f"{value:.2f}" for value in line["accu"]), "", "", "")
    return [table]


def _recalls(title: str, protocol: str, cells: list[Json], report: Json) -> Table:
    table = _table(title)
    table.add_column("photos")
    table.add_column("")
    names = [*RECALLS, "AP"] if any("AP" in model.get(protocol, {}) for cell in cells for model in cell["models"]) else RECALLS
    for name in names:
        table.add_column(name, justify="right")
    for cell in cells:
        for label, groups, style in _lines(cell, report):
            figures = groups.get(protocol, {})
            if any(name in figures for name in names):
                table.add_row(_cell(cell), label, *(_figure(figures.get(name), name) for name in names), style=style)
    for line in report["published"]:
        if line["protocol"] == protocol:
            values = ("-" if value is None else f"{value:.2f}" for value in line["recalls"])
            table.add_row("360°, known", f"published: {line['method']}", *values)
    return table


def _metres(report: Json, title: str) -> list[Table]:
    if not any("metres" in model for cell in report["cells"] for model in cell["models"]):
        return []
    table = _table(f"{title}: metres, and headings where they are found")
    table.add_column("photos")
    table.add_column("")
    for name in (*METRES.values(), *HEADING.values()):
        table.add_column(name, justify="right")
    for cell in report["cells"]:
        for label, groups, style in _lines(cell, report):
            values = [_figure(groups.get("metres", {}).get(name), name) for name in METRES]
            values += [_figure(groups.get("heading", {}).get(name), name) for name in HEADING]
            if any(str(value) != "-" for value in values):
                table.add_row(_cell(cell), label, *values, style=style)
    return [table]


def _lines(cell: Json, report: Json) -> list[tuple[str, Json, str]]:
    """Return (label, groups, style) of everything in a cell."""
    lines: list[tuple[str, Json, str]] = [(m["name"], groups, "") for m, groups in zip(report["models"], cell["models"], strict=True)]
    if cell["over_seeds"]:
        lines.append(("over seeds", cell["over_seeds"], ""))
    if cell["against"]:
        lines.append(("more than the other model", cell["against"], ""))
    lines += [(name, groups, "dim") for name, groups in cell["controls"].items()]
    chance = {
        group: {name: {"value": value, "low": None, "high": None} for name, value in own.items()} for group, own in cell["chance"].items()
    }
    return [*lines, ("chance", chance, "dim")] if chance else lines


def _cell(cell: Json) -> str:
    fov = f"{cell['fov_deg']:g}°" if cell["fov_deg"] else "field of view unknown"
    return fov if cell["heading"] == "none" else f"{fov}, {cell['heading']}"


def _figure(figure: Json | None, name: str) -> Text:
    """Return a figure with its interval: shares in percent, metres and degrees with their unit."""
    if figure is None:
        return Text("-")
    if figure["value"] is None:
        return Text("none")
    scale, unit = (1.0, " m") if name == "median_m" else (1.0, "°") if name == "median_deg" else (100.0, "")
    text = Text(f"{scale * figure['value']:.1f}")
    if figure["low"] is not None or figure["high"] is not None:
        low, high = (f"{scale * figure[end]:.1f}" if figure[end] is not None else "∞" for end in ("low", "high"))
        text.append(f" ({low}–{high})", style="dim")
    return text.append(unit)


def _table(title: str) -> Table:
    return Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
