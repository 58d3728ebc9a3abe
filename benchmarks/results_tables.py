"""Print the tables of docs/results.md from what the street benchmarks wrote: python benchmarks/results_tables.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Json = dict[str, Any]
PLACES = {
    "R@1": "R@1", "R@1%": "R@1%", "within_25_m": "within 25 m", "within_5_m": "within 5 m",
    "heading_within_10_deg_of_those_within_25_m": "of those within 25 m, heading within 10 degrees",
}  # fmt: skip
BOXES = {"accu@0.25": "accu@0.25", "accu@0.5": "accu@0.5"}


def cell(figure: Json | None) -> str:
    """Write a share and its 95 % interval in percent."""
    if figure is None:
        return "-"
    value, low, high = (figure.get(key) for key in ("value", "low", "high"))
    if low is None or high is None:
        return f"{value:.0%}"
    return f"{value:.0%} ({max(low, 0.0):.0%} to {min(high, 1.0):.0%})"  # of few seeds it passes what shares can be


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)) + "\n"


def read(name: str) -> Json | None:
    """Return what a benchmark wrote, None where it has not run."""
    path = RESULTS / f"{name}.json"
    found: Json | None = json.loads(path.read_text()) if path.exists() else None
    return found


def street(found: Json) -> str:
    """All towns, case by case: descriptors, the engine's places, boxes, the controls."""
    places, boxes, controls = [], [], []
    for town in found["towns"]:
        name = f"{town['seed']} {town['style']}"
        for case, of in town["cases"].items():
            engine, rows = of.get("engine") or {}, of.get("descriptors") or {}
            both = {**rows, **engine}
            if both:
                controls.append([name, case, "chance", *(f"{rows[key]['chance']:.1%}" if key in rows else "-" for key in ("R@1", "R@1%"))])
                places.append(
                    [name, case, *(cell(both.get(key)) for key in PLACES), cell(engine.get("located")), str(engine.get("photos", ""))]
                )
            if engine.get("boxes"):
                near = engine.get("boxes_within_30_m") or {}
                chance = of.get("boxes by chance") or {}
                blind = " / ".join(f"{chance[key]:.1%}" for key in BOXES if key in chance) or "-"
                shares = [*(engine["boxes"].get(key) for key in BOXES), *(near.get(key) for key in BOXES)]
                boxes.append([name, case, *map(cell, shares), blind])
            for control, own in {**(of.get("controls") or {}), "heading shifted": of.get("heading shifted at random")}.items():
                if own:
                    controls.append([name, case, control, cell(own["R@1"]), cell(own["R@1%"])])
            if shifted := of.get("engine, heading shifted at random"):
                controls.append([name, case, "engine, heading shifted", f"{cell(shifted['within_25_m'])} within 25 m", "-"])
                if shifted.get("boxes"):
                    found = " / ".join(cell(shifted["boxes"].get(key)) for key in BOXES)
                    controls.append([name, case, "boxes, heading shifted", f"accu@0.25 / @0.5 {found}", "-"])
    return "\n".join([
        table(["town", "photos", *PLACES.values(), "`located`", "asked of the engine"], places),
        table(["town", "photos", "all clicks: accu@0.25", "accu@0.5", "objects within 30 m: accu@0.25", "accu@0.5", "chance"], boxes),
        table(["town", "photos", "control", "R@1", "R@1%"], controls),
    ])  # fmt: skip


def ablation(found: Json) -> str:
    """Variants by what was measured, over seeds, and how each differs from what it is held against, seed by seed."""
    parts = []
    for group, signed in (("result", False), ("differences", True)):
        own = found.get(group) or {}
        if own:
            names = [name for name in next(iter(own.values())) if not (signed and name.startswith("chance"))]
            rows = [
                [variant, *(_points(of[name], signed) for name in names), str(len(of[names[0]]["seeds"]))] for variant, of in own.items()
            ]
            parts.append(table(["points" if signed else "variant", *names, "seeds"], rows))
    return "\n".join(parts)


def _points(figure: Json, signed: bool) -> str:
    """Write a difference in points with its sign and interval, or a share."""
    if not signed:
        return cell(figure)
    value, low, high = (None if (x := figure[key]) is None else 100.0 * x for key in ("value", "low", "high"))
    return f"{value:+.1f}" if low is None or high is None else f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def banepa(found: Json) -> str:
    """Before and after, descriptors and engine."""
    rows = []
    for when, of in found["result"].items():
        for asked in ("descriptors", "engine"):
            own = of[asked].items()
            rows += [[when, f"{asked}, {case}", cell(figures["within_5_m"]), cell(figures["within_25_m"])] for case, figures in own]
    return table(["", "photos", "within 5 m", "within 25 m"], rows)


TABLES: dict[str, Callable[[Json], str]] = {
    "accuracy-street": street, "ablation-street-egotr": ablation, "ablation-street-attengeo": ablation, "accuracy-street-banepa": banepa,
}  # fmt: skip


def main() -> None:
    """Print what there is."""
    for name, write in TABLES.items():
        found = read(name)
        print(f"## {name}\n\n{write(found) if found else 'not measured yet'}")


if __name__ == "__main__":
    main()
