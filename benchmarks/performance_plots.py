"""Draw what docs/performance.md shows from the results: python benchmarks/performance_plots.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

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


def main() -> None:
    """Draw every picture whose results are there."""
    for name in ("engines", "engines-slow", "engines-gpu"):
        source = RESULTS / f"{name}.json"
        if source.exists():
            engines(json.loads(source.read_text()), IMAGES / f"performance-{name}.png")
            print(IMAGES / f"performance-{name}.png")


if __name__ == "__main__":
    main()
