"""What each block is used for: drawn by the density and character of its district, so that neighbouring blocks belong together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from shapely import Polygon

from crossgeo.town import blocks, greens
from crossgeo.town.geometry import FloatArray, frontages
from crossgeo.town.plan import Material, Plan
from crossgeo.town.streets import Block, Street

Builder = Callable[[Plan, Polygon, float], None]
_DENSITIES = (0.0, 0.2, 0.45, 0.7, 1.0)
_USES: tuple[tuple[Builder, tuple[float, ...]], ...] = (  # weights at the densities above
    (greens.fields, (6.0, 2.0, 0.15, 0.0, 0.0)),
    (greens.farm, (2.5, 0.8, 0.0, 0.0, 0.0)),
    (greens.wood, (1.0, 0.5, 0.15, 0.05, 0.0)),
    (greens.park, (0.1, 0.4, 0.6, 0.5, 0.35)),
    (greens.sports, (0.0, 0.3, 0.45, 0.35, 0.15)),
    (greens.square, (0.0, 0.0, 0.1, 0.3, 0.5)),
    (blocks.houses, (0.9, 6.0, 6.5, 2.5, 0.4)),
    (blocks.terraces, (0.0, 0.3, 1.8, 2.2, 1.0)),
    (blocks.slabs, (0.0, 0.1, 1.0, 1.5, 0.8)),
    (blocks.perimeter, (0.0, 0.0, 0.5, 3.0, 6.0)),
    (blocks.trade, (0.1, 0.4, 0.8, 1.0, 0.6)),
    (blocks.car_park, (0.0, 0.1, 0.3, 0.5, 0.3)),
)
_GREEN, _OPEN = (greens.park, greens.wood, greens.sports), (greens.fields, greens.farm)


def _weights(plan: Plan, block: Block) -> FloatArray:
    density = float(np.clip(block.district.density + plan.rng.normal(0.0, 0.07), 0.0, 1.0))
    weights = np.array([np.interp(density, _DENSITIES, row) for _, row in _USES])
    for i, (use, _) in enumerate(_USES):
        if block.district.character == "trade" and use in (blocks.trade, blocks.car_park):
            weights[i] = weights[i] * 6.0 + 0.5
        if block.district.character == "green" and use in _GREEN:
            weights[i] *= 4.0
        if block.shape.area < 900.0 and use in (greens.sports, blocks.slabs, *_OPEN):
            weights[i] = 0.0
        if block.shape.area > 9000.0 and use in (greens.square, blocks.car_park):
            weights[i] *= 0.1
    return np.asarray(weights / weights.sum(), np.float64)


def build_block(plan: Plan, block: Block) -> None:
    """Choose a use for one block and build it."""
    rng, shape = plan.rng, block.shape
    width_m = 2.0 * shape.area / max(shape.length / 2.0, 1.0)
    if shape.area < 120.0 or width_m < 6.0:
        blocks.lawn(plan, shape) if rng.uniform() > plan.style.dryness else plan.ground(
            shape, Material.PAVING, plan.shade(plan.style.paving_rgb)
        )
        plan.trees_in(shape, int(rng.poisson(shape.area / 80.0 * plan.style.trees)), (1.0, 3.0))
        return
    use = _USES[int(rng.choice(len(_USES), p=_weights(plan, block)))][0]
    if use in (blocks.houses, blocks.terraces, blocks.perimeter) and rng.uniform() < plan.style.informal:
        use = blocks.informal
    use(plan, shape, block.district.density)


def line_street(plan: Plan, block: Block, streets: list[Street]) -> None:
    """Set street trees and parking along the edges of a block."""
    rng, style = plan.rng, plan.style
    if block.district.pattern == "rural" or style.sidewalk_m < 0.5:
        return
    for start, along, inward, length in frontages(block.shape, 18.0):
        if rng.uniform() < 0.32 * min(1.5, style.trees):
            radius, step = float(rng.uniform(1.3, 3.2)), float(rng.uniform(6.0, 14.0))
            for at in np.arange(rng.uniform(1.0, step), length - 1.0, step):
                spot = start + along * at - inward * 0.6
                if rng.uniform() < 0.85:
                    plan.tree(float(spot[0]), float(spot[1]), radius * float(rng.uniform(0.8, 1.15)))
        if rng.uniform() < 0.55:
            busy = float(rng.choice((0.15, 0.4, 0.75)))
            for at in np.arange(6.0, length - 6.0, 5.9):
                spot = start + along * at - inward * (style.sidewalk_m + 1.15)
                plan.car_slots.append((float(spot[0]), float(spot[1]), float(np.arctan2(along[1], along[0])), busy))
