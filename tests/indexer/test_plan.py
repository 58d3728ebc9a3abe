"""A plan says what the build then takes, writes nothing, and refuses what the build would."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgeo.errors import InputError, UsageError
from crossgeo.indexer.build import build_index
from crossgeo.indexer.plan import plan_index


def bytes_of(path: Path) -> int:
    """Return how many bytes an index takes."""
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def test_a_plan_of_whole_imagery_is_what_the_build_makes(
    tmp_path: Path, ortho: Path, far_ortho: Path, describe: Any, identity: Any, options: Any
) -> None:
    plan = plan_index([ortho, far_ortho], options, dim=48, tiles_per_s=10.0)
    made = build_index([ortho, far_ortho], tmp_path / "a.geo", describe, identity, options)
    assert plan.tiles == made.tiles
    assert (plan.blocks, plan.zones) == (sum(s.blocks for s in made.segments), 2)
    assert plan.valid_share == pytest.approx(1.0, abs=0.02)
    assert plan.bytes == pytest.approx(bytes_of(tmp_path / "a.geo"), rel=0.4)  # a small index has much that is not blocks
    assert plan.peak_bytes >= plan.bytes
    assert plan.describe_s == pytest.approx(plan.tiles / 10.0)
    assert plan.hours == pytest.approx((plan.cut_s + plan.tiles / 10.0) / 3600.0)


def test_gaps_in_the_imagery_are_estimated_from_a_sample(
    tmp_path: Path, write_raster: Any, paint: Any, describe: Any, identity: Any, options: Any
) -> None:
    mask = np.full((900, 900), 255, np.uint8)
    mask[:, 500:] = 0
    half = write_raster(tmp_path / "half.tif", paint(900, 900), mask=mask)
    plan = plan_index([half], options, dim=48)
    made = build_index([half], tmp_path / "a.geo", describe, identity, options)
    assert plan.valid_share == pytest.approx(5 / 9, abs=0.05)
    assert plan.tiles == pytest.approx(made.tiles, rel=0.15)
    assert plan.hours is None


def test_the_rate_is_measured_with_the_model_where_none_is_given(ortho: Path, describe: Any, options: Any) -> None:
    asked: list[tuple[int, ...]] = []

    def counted(tiles: Any) -> Any:
        asked.append(tiles.shape)
        return describe(tiles)

    plan = plan_index([ortho], options, describe=counted)
    assert set(asked) == {(options.batch, options.tile_px, options.tile_px, 3)}
    assert plan.tiles_per_s is not None
    assert plan.describe_s == pytest.approx(plan.tiles / plan.tiles_per_s)
    plan_index([ortho], options, describe=counted, tiles_per_s=1.0)
    assert len(asked) == 3


def test_what_cannot_be_built_cannot_be_planned(tmp_path: Path, ortho: Path, options: Any) -> None:
    with pytest.raises(InputError, match="no such file"):
        plan_index([tmp_path / "none.tif"], options)
    with pytest.raises(InputError, match="too coarse"):
        plan_index([ortho], dataclasses.replace(options, gsd_m=0.01, tile_m=60.0))
    with pytest.raises(InputError, match="no imagery given"):
        plan_index([], options)
    with pytest.raises(UsageError, match="positive"):
        plan_index([ortho], options, tiles_per_s=0.0)
