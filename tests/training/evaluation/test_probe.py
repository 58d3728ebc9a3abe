"""training/evaluation/probe.py: a few pairs tell which view weights were trained with, and nothing is decided by chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from crossgeo.errors import InputError, WeightsError
from crossgeo.kernels.polar import polar_transform
from crossgeo.models.egotr import EgoTR, EgoTRConfig
from crossgeo.models.panorama import PanoramaView
from crossgeo.models.published.importing import AerialView
from crossgeo.training.evaluation.probe import ReadAs, ViewProbe, decide, probe_views
from crossgeo.training.pairs import Pair, PairSet

Quiet = Callable[[str, int, int], None]
PLAIN = EgoTRConfig("tiny", "efficientnet-lite0", (32, 128), (64, 64), width=48, layers=2, heads=3, hidden=64, descriptor=48, dropout=0.0)
POLAR = replace(PLAIN, aerial_hw=(32, 128), polar=True)  # the same shapes, as EgoTR's two views have


@pytest.fixture(scope="module")
def read_as() -> ReadAs:
    """Weights whose branches are alike: a panorama and an aerial unrolled like it get the same descriptor."""
    torch.manual_seed(3)
    model = EgoTR(PLAIN).eval()
    for parameter in model.ground.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=(parameter[0].numel() / 2) ** -0.5)  # so that pictures are told apart
    model.aerial.load_state_dict(model.ground.state_dict())

    def read(view: AerialView) -> tuple[dict[str, Any], dict[str, Tensor]]:
        config = POLAR if view == "polar" else PLAIN
        return {"config": config.to_dict(), "view": PanoramaView.of(config).to_dict()}, dict(model.state_dict())

    return read


def make_pairs(folder: Path, count: int, alike: bool = False) -> PairSet:
    """Take panoramas that are their aerial unrolled; all pictures `alike` tell nothing."""
    rng, pairs = np.random.default_rng(2), []
    for number in range(count):
        coarse = np.full((4, 4, 3), 90, np.uint8) if alike else rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        aerial = np.asarray(Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC))
        unrolled = polar_transform(torch.from_numpy(aerial.copy()).permute(2, 0, 1)[None].double(), 32, 128)[0].permute(1, 2, 0)
        Image.fromarray(aerial).save(folder / f"{number}_aerial.png")
        Image.fromarray(unrolled.round().byte().numpy()).save(folder / f"{number}.png")
        pairs.append(Pair(str(number), folder / f"{number}.png", folder / f"{number}_aerial.png", "val", 0.0, 360.0))
    return PairSet("made", "cvusa", folder, tuple(pairs))


def test_the_view_that_weights_were_trained_with_is_found(tmp_path: Path, read_as: ReadAs, quiet: Quiet) -> None:
    pairs = make_pairs(tmp_path, 14)
    found = probe_views(read_as, pairs, quiet)
    assert (found.view, found.pairs, decide(found, None), decide(found, "polar")) == ("polar", 14, "polar", "polar")
    assert found.to_json()["polar"] == {"first": 14, "median_rank": 1.0} and found.to_json()["view"] == "polar"
    with pytest.raises(
        WeightsError, match=r"14 with the polar view, \d with the plain view find their own .*: these are .* give --view polar"
    ):
        decide(found, "plain")
    other = probe_views(lambda view: read_as("plain" if view == "polar" else "polar"), pairs, quiet)
    assert other.view == "plain"


def test_pairs_that_tell_nothing_decide_nothing(tmp_path: Path, read_as: ReadAs, quiet: Quiet) -> None:
    found = probe_views(read_as, make_pairs(tmp_path, 10, alike=True), quiet)
    assert found.view is None
    with pytest.raises(WeightsError, match="which decides nothing; probe with other pairs"):
        decide(found, None)


@pytest.mark.parametrize(
    ("polar", "plain", "view"),
    [
        ([1] * 8, [2] * 8, "polar"),
        ([2] * 8, [1] * 8, "plain"),
        ([1] * 7 + [9], [2] * 8, None),
        ([1] * 7, [2] * 7, None),
        ([1] * 9, [1] * 9, None),
    ],
)
def test_a_difference_must_be_more_than_chance(
    polar: list[int], plain: list[int], view: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossgeo.training.evaluation import probe

    assert probe._better({"polar": polar, "plain": plain}) == view


def test_few_pairs_or_none_with_a_heading_are_refused(tmp_path: Path, read_as: ReadAs, quiet: Quiet) -> None:
    with pytest.raises(InputError, match="made: 7 pairs know their heading; a probe needs 8 at least"):
        probe_views(read_as, make_pairs(tmp_path, 7), quiet)
    pairs = make_pairs(tmp_path, 9)
    with pytest.raises(InputError, match="made: 0 pairs"):
        probe_views(read_as, replace(pairs, pairs=tuple(replace(pair, heading_deg=None) for pair in pairs)), quiet)
    (tmp_path / "3.png").unlink()
    with pytest.raises(InputError, match=r"3\.png is not there"):
        probe_views(read_as, pairs, quiet)


def test_only_so_many_pairs_are_asked_about_and_the_gallery_is_theirs(tmp_path: Path, read_as: ReadAs, quiet: Quiet) -> None:
    found = probe_views(read_as, make_pairs(tmp_path, 12), quiet, count=9)
    assert found.pairs == 9 and max(found.ranks["plain"]) <= 9
    assert ViewProbe("s", {"polar": [1, 4], "plain": [2, 2]}, None).says() == (
        "of 2 photos of s, 1 with the polar view, 0 with the plain view find their own picture first"
    )
