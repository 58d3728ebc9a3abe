"""EgoTR on one CPU thread, per image: as written against folded (models/fold.py), float32 against bfloat16.

Run: python benchmarks/egotr.py [--rounds 5]. Weights are random: their values do not change the cost.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
import torch.nn.functional as F
from common import record, spread

from crossgeo.engine.runtime.timing import in_turn
from crossgeo.models.cost import count_macs
from crossgeo.models.egotr import PRESETS, EgoTRBranch
from crossgeo.models.fold import fold_branch

CASES = (("egotr-s", 1), ("egotr-s", 16), ("egotr-b", 1))  # preset, images a batch


def measure(preset: str, batch: int, rounds: int) -> dict[str, Any]:
    """Time the four ways of running the aerial branch of a preset, in turn, and compare their descriptors."""
    config = PRESETS[preset]
    shape = (batch, 3, *config.aerial_hw)
    torch.manual_seed(0)
    eager = EgoTRBranch(config, config.aerial_hw).eval()
    folded, halved = fold_branch(eager), fold_branch(eager).bfloat16()
    images = torch.randn(shape).to(memory_format=torch.channels_last)

    def eager_bf16() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return eager(images)

    calls = {
        "eager_fp32": lambda: eager(images),
        "folded_fp32": lambda: folded(images),
        "eager_bf16_autocast": eager_bf16,
        "folded_bf16": lambda: halved(images.bfloat16()),
    }
    with torch.inference_mode():
        truth = eager(images)
        cosine = {name: float(F.cosine_similarity(truth, call(), dim=1).min()) for name, call in calls.items()}
        seconds = in_turn(calls, rounds)
    base = seconds["eager_fp32"]
    with torch.device("meta"):
        branch = EgoTRBranch(config, config.aerial_hw).eval()
        gmac = {"eager": count_macs(branch, shape) / batch / 1e9, "folded": count_macs(fold_branch(branch), shape) / batch / 1e9}
    return {
        "preset": preset,
        "batch": batch,
        "image_hw": config.aerial_hw,
        "gmac_per_image": gmac,
        "ways": {
            name: {
                "ms_per_image": spread([1000 * s / batch for s in times], 2),
                "times_faster_than_eager_fp32": spread([b / s for b, s in zip(base, times, strict=True)], 3),
                "least_cosine_to_eager_fp32": round(cosine[name], 6),
            }
            for name, times in seconds.items()
        },
    }


def main() -> None:
    """Measure all cases and record them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    cases = [measure(preset, batch, rounds) for preset, batch in CASES]
    record("egotr", {"clock": "process time, one thread", "rounds": rounds, "cases": cases})


if __name__ == "__main__":
    main()
