"""Draw what docs/performance.md shows from the results: python benchmarks/performance_plots.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parent.parent / "docs" / "images"
COLOURS = {"torch": "#7a8793", "torch-compile": "#4f6d7a", "openvino": "#d9822b", "onnxruntime": "#b7c0c7", "eager bf16": "#9fb3c1"}


def engines(told: dict[str, Any], path: Path) -> None:
    """Bars of how many times faster than torch's eager float32 each runtime is, with the least and the greatest of all rounds."""
    cases = told["cases"]
    figure, axes = plt.subplots(1, len(cases), figsize=(2.3 * len(cases), 3.6), sharey=True)
    for axis, case in zip(axes, cases, strict=True):
        ways = {name: row["times_faster_than_eager_fp32"] for name, row in case["ways"].items() if "second" not in name}
        ways.pop("eager fp32")
        for place, (name, ratio) in enumerate(ways.items()):
            axis.bar(place, ratio["median"], color=COLOURS.get(name, "#888888"), width=0.8)
            axis.vlines(place, ratio["least"], ratio["greatest"], color="black", linewidth=1)
            axis.text(place, ratio["greatest"] + 0.1, f"{ratio['median']:.1f}", ha="center", fontsize=8)
        axis.axhline(1.0, color="black", linewidth=0.6, linestyle=":")
        axis.set_xticks(range(len(ways)), list(ways), rotation=60, ha="right", fontsize=8)
        images = case["images_at_once"]
        axis.set_title(f"{case['preset']}\n{images} image{'s' * (images > 1)} at once", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("times faster than torch eager fp32")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def query(told: dict[str, Any], path: Path) -> None:
    """Bars of where the time of a whole question goes, stage by stage, for each runtime and what was told of the photos."""
    conditions = told["conditions"]
    figure, axes = plt.subplots(len(conditions), 1, figsize=(8.5, 0.9 + 1.7 * len(conditions)), squeeze=False)
    stages = list(dict.fromkeys(s for ways in conditions.values() for way in ways.values() for s in way["stages_ms"] if s != "total"))
    colours = dict(zip(stages, plt.get_cmap("tab20").colors, strict=False))
    for axis, (condition, ways) in zip(axes[:, 0], conditions.items(), strict=True):
        for place, way in enumerate(reversed(ways.values())):
            left = 0.0
            for stage in stages:
                ms = way["stages_ms"].get(stage, {"median": 0.0})["median"]
                axis.barh(place, ms, left=left, color=colours[stage], label=stage if place == 0 else None)
                left += ms
            axis.text(left, place, f" {way['times_faster_than_torch_fp32']['median']:.2f}x", va="center", fontsize=8)
        axis.set_yticks(range(len(ways)), list(reversed(ways)), fontsize=8)
        axis.set_title(f"{condition}, {max(way['photos'] for way in ways.values())} photos: ms of each stage at the median", fontsize=9)
        axis.margins(x=0.1)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower center", ncols=min(len(stages), 7), fontsize=8, frameon=False)
    figure.tight_layout(rect=(0.0, 0.08, 1.0, 1.0))
    figure.savefig(path, dpi=130)
    plt.close(figure)


def search(told: dict[str, Any], path: Path) -> None:
    """Bars of questions a second on one core, each index as wide as it must be to find enough; the dull ones never do."""
    results = sorted(told["results"].items(), key=lambda item: item[1]["qps"]["median"])
    figure, axis = plt.subplots(figsize=(8.5, 0.42 * len(results) + 1.2))
    for place, (name, row) in enumerate(results):
        enough = row["recall_at_1"] >= 0.99 and row["recall_at_10"] >= 0.95
        mine = name.startswith("crossgeo")
        axis.barh(place, row["qps"]["median"], color="#d9822b" if mine else "#7a8793", alpha=1.0 if enough else 0.35)
        found = f"{row['qps']['median']:,.0f} a second; {100 * row['recall_at_1']:.1f} / {100 * row['recall_at_10']:.1f} %, "
        axis.text(row["qps"]["median"] * 1.05, place, found + f"{row['memory_bytes'] / 1e9:.2f} GB", va="center", fontsize=8)
    axis.set_yticks(range(len(results)), [name for name, _ in results], fontsize=8)
    axis.set_xscale("log")
    axis.set_xlim(right=60 * axis.get_xlim()[1])
    axis.set_title(f"{told['rows']:,} descriptors, one core: best found / ten best found, size", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def growth(told: list[dict[str, Any]], path: Path) -> None:
    """Curves of what an index of ours costs by its number of tiles; small ones are searched exactly."""
    rows = [one["rows"] for one in told]
    mine = [one["results"]["crossgeo"] for one in told]
    curves = {
        "building, s of one core": [one["build_cpu_s"] for one in mine],
        "memory while building, GB": [one["build_peak_bytes"] / 1e9 for one in mine],
        "on disk and in memory, GB": [one["memory_bytes"] / 1e9 for one in mine],
        "one question, ms": [one["single_ms"]["p50"] for one in mine],
        "questions a second in a batch": [one["qps"]["median"] for one in mine],
    }
    figure, axes = plt.subplots(1, len(curves), figsize=(2.6 * len(curves), 2.8))
    for axis, (name, values) in zip(axes, curves.items(), strict=True):
        axis.loglog(rows, values, marker="o", color="#d9822b")
        for at, value in zip(rows, values, strict=True):
            axis.annotate(
                f"{value:,.0f}" if value >= 100 else f"{value:.3g}",
                (at, value),
                textcoords="offset points",
                xytext=(0, 6),
                ha="center",
                fontsize=8,
            )
        axis.margins(0.3)
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("descriptors", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def rows(told: dict[str, Any], path: Path) -> None:
    """Bars of the milliseconds of every way of every row, beside the floor and what is asked."""
    found = told["rows"]
    heights = [3.0 + len(row["ways"]) for row in found.values()]
    figure, axes = plt.subplots(len(found), 1, figsize=(8.5, 0.6 + 0.24 * sum(heights)), squeeze=False, height_ratios=heights)
    for axis, (name, row) in zip(axes[:, 0], found.items(), strict=True):
        ways = {way: of for way, of in row["ways"].items() if "ms" in of}
        for place, (way, of) in enumerate(reversed(ways.items())):
            colour = "#d9822b" if way == row["best"] else "#4f6d7a" if way.startswith(("ours", "triton")) else "#b7c0c7"
            axis.barh(place, of["ms"]["median"], color=colour if of["agrees"] else "#c0392b")
            axis.hlines(place, of["ms"]["least"], of["ms"]["greatest"], color="black", linewidth=1)
            axis.text(of["ms"]["greatest"], place, f" {of['ms']['median']:.3g} ms", va="center", fontsize=7)
        axis.axvline(row["floor_ms"], color="black", linestyle=":", linewidth=1)
        axis.set_yticks(range(len(ways)), list(reversed(ways)), fontsize=7)
        axis.tick_params(axis="x", labelsize=7)
        reached = [f"{bar['what']}: {'-' if bar['reached'] is None else format(bar['reached'], '.3g')}" for bar in row["bars"]]
        axis.set_title(f"{name}\n{'; '.join(reached)}", fontsize=8, loc="left")
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel(
        f"ms on {told['device']}; dotted: the floor on an H100; orange: our fastest; red: strays from float32", fontsize=8
    )
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def kernels(told: dict[str, Any], path: Path) -> None:
    """A point for each kernel and its fastest peer: the share of the ceiling that binds it, copying or multiplying."""
    cases = {name: case for name, case in told["cases"].items() if "ms" in next(iter(case["ways"].values()))}
    figure, axis = plt.subplots(figsize=(8.5, 0.8 + 0.22 * len(cases)))
    for place, case in enumerate(reversed(cases.values())):
        for way, colour, mark in (("ours", "#d9822b", "o"), ("peer", "#4f6d7a", "x")):
            named = [of for name, of in case["ways"].items() if "ms" in of and name.startswith("triton") == (way == "ours")]
            if named:
                best = min(named, key=lambda of: of["ms"]["median"])
                axis.plot(max(best["share_of_copy"], best["share_of_matmul"]), place, mark, color=colour, markersize=5)
    axis.set_yticks(range(len(cases)), list(reversed(cases)), fontsize=7)
    axis.set_ylim(-1, len(cases))
    axis.axvline(1.0, color="black", linestyle=":", linewidth=1)
    axis.set_xlabel(f"share of what {told['device']} copies or multiplies at; circle: ours, cross: the fastest peer", fontsize=8)
    axis.grid(axis="x", linewidth=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Draw every picture whose results are there."""
    for name in ("engines", "engines-slow", "engines-gpu"):
        source = RESULTS / f"{name}.json"
        if source.exists():
            engines(json.loads(source.read_text()), IMAGES / f"performance-{name}.png")
            print(IMAGES / f"performance-{name}.png")
    for name in ("query", "query-gpu"):
        if (source := RESULTS / f"{name}.json").exists():
            query(json.loads(source.read_text()), IMAGES / f"performance-{name}.png")
    for name, draw in (("h100", rows), ("gpu-kernels", kernels)):
        if (source := RESULTS / f"{name}.json").exists():
            draw(json.loads(source.read_text()), IMAGES / f"performance-{name}.png")
    searched = [json.loads(path.read_text()) for path in RESULTS.glob("search-*.json") if not path.stem.endswith("-gpu")]
    searched.sort(key=lambda one: int(one["rows"]))
    for one in searched:
        if len(one["results"]) > 2:
            search(one, IMAGES / f"performance-search-{one['rows']}.png")
    if len(searched) > 1:
        growth(searched, IMAGES / "performance-search-growth.png")


if __name__ == "__main__":
    main()
