"""The 5 m step: cells of a 5 m grid around the best rivals and finer poses of the photo, climbed to the best pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from crossgeo.engine.cells import Cell, CellDescriptors, Vector
from crossgeo.engine.describe import Describer
from crossgeo.engine.feature_cache import FeatureCache
from crossgeo.engine.photo import Photo
from crossgeo.engine.pose import Pose
from crossgeo.indexer.index import GeoIndex, Segment

Turn = tuple[int, int]  # heading steps, scale steps from the rival's pose
MIN_RADIUS_M = 2.5
RING = tuple((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1))


@dataclass(frozen=True)
class FineSettings:
    """How far and how finely the 5 m step looks."""

    step_m: float = 5.0
    reach_m: float = 15.0  # to each side of a rival's tile
    heading_step_deg: float = 5.0
    heading_reach: int = 3  # steps
    scale_step: float = 1.1
    scale_reach: int = 3  # steps
    min_valid: float = 0.1  # of a cell's pixels
    temperature: float = 0.02  # of scores, for the radius; the card's thresholds may name another


@dataclass(frozen=True)
class Spot:
    """A place in a segment with the pose and score at which the photo fits there."""

    segment: Segment
    x: float  # m, in the segment's CRS
    y: float
    pose: Pose
    score: float  # cosine of the descriptors
    radius_m: float
    tile: int
    fit: float | None = None  # correlation of the feature maps once registered, of all parts of the photo once judged

    @property
    def merit(self) -> float:
        """What places are ranked and judged by, -1 to 1: the cosine, and the correlation twice where there is one."""
        return self.score if self.fit is None else (self.score + 2.0 * self.fit) / 3.0


@dataclass
class _Climb:
    """One rival being refined: what has been described so far, and where the best pair stands."""

    start: Spot
    origin: Cell
    cells: dict[Cell, Vector | None] = field(default_factory=dict)  # None: too little imagery
    turns: dict[Turn, Vector] = field(default_factory=dict)
    cell: Cell = (0, 0)
    turn: Turn = (0, 0)

    def scores(self) -> dict[tuple[Cell, Turn], float]:
        cells = [(cell, row) for cell, row in self.cells.items() if row is not None]
        if not cells:
            return {}
        table = np.stack([row for _, row in cells]) @ np.stack(list(self.turns.values())).T  # (cells, turns)
        return {(cell, turn): float(table[i, j]) for i, (cell, _) in enumerate(cells) for j, turn in enumerate(self.turns)}


class FineStep:
    """Refines rivals; the descriptors of cells are kept between questions."""

    def __init__(
        self, index: GeoIndex, describer: Describer, settings: FineSettings | None = None, kept: FeatureCache | None = None
    ) -> None:
        """Join an index and a describer; descriptors of cells go to `kept`, which others may use, too."""
        self.settings = settings or FineSettings()
        self._describer = describer
        self.cells = CellDescriptors(index, describer, self.settings.step_m, self.settings.min_valid, kept)

    def refine(self, photo: Photo, rivals: Sequence[Spot]) -> list[Spot]:
        """Return each rival moved to its best 5 m cell and pose, with sub-cell position and an honest radius, in the given order.

        A rival without enough imagery around it is returned as it came.
        """
        step_m = self.settings.step_m
        climbs = []
        for spot in rivals:
            east, north = spot.pose.offset_m(photo)  # cells are compared with what the canvas is centred on
            climbs.append(_Climb(spot, (round((spot.x + east) / step_m), round((spot.y + north) / step_m))))
        for climb in climbs:
            climb.cell = climb.origin
        active = climbs
        while active:  # ends: every round describes something new, and the reach is finite
            wanted = [(climb, self._new_cells(climb), self._new_turns(climb)) for climb in active]
            self._describe_cells([(climb, cell) for climb, cells, _ in wanted for cell in cells])
            self._describe_turns(photo, [(climb, turn) for climb, _, turns in wanted for turn in turns])
            active = [climb for climb, cells, turns in wanted if cells or turns]
            for climb in active:
                scores = {pair: score for pair, score in climb.scores().items() if self._within(climb, pair[0])}
                if scores:
                    climb.cell, climb.turn = max(scores, key=lambda pair: scores[pair])
        return [self._finish(photo, climb) for climb in climbs]

    def _within(self, climb: _Climb, cell: Cell) -> bool:
        """Whether a cell may be the best one; its neighbours, which the fit of its peak needs, may lie a step beyond."""
        away = max(abs(cell[0] - climb.origin[0]), abs(cell[1] - climb.origin[1]))
        return away * self.settings.step_m <= self.settings.reach_m

    def _new_cells(self, climb: _Climb) -> list[Cell]:
        """The best cell and its neighbours that are not described yet."""
        ring = [(climb.cell[0] + a, climb.cell[1] + b) for a, b in RING]
        return [cell for cell in ring if cell not in climb.cells]

    def _new_turns(self, climb: _Climb) -> list[Turn]:
        """The best turn and its neighbours within reach that are not described yet."""
        ring = [(climb.turn[0] + a, climb.turn[1] + b) for a, b in RING]
        near = [turn for turn in ring if abs(turn[0]) <= self.settings.heading_reach and abs(turn[1]) <= self.settings.scale_reach]
        return [turn for turn in near if turn not in climb.turns]

    def _describe_cells(self, wanted: list[tuple[_Climb, Cell]]) -> None:
        segments = {climb.start.segment.number: climb.start.segment for climb, _ in wanted}
        for number, segment in segments.items():
            own = [(climb, cell) for climb, cell in wanted if climb.start.segment.number == number]
            made = self.cells.describe(segment, list(dict.fromkeys(cell for _, cell in own)))
            for climb, cell in own:
                climb.cells[cell] = made[cell]

    def _describe_turns(self, photo: Photo, wanted: list[tuple[_Climb, Turn]]) -> None:
        if wanted:
            rows = self._describer.photo(photo, [self._pose(climb.start.pose, *turn) for climb, turn in wanted])
            for (climb, turn), row in zip(wanted, rows, strict=True):
                climb.turns[turn] = row

    def _pose(self, pose: Pose, heading_steps: float, scale_steps: float) -> Pose:
        return pose.turned(heading_steps * self.settings.heading_step_deg).scaled(self.settings.scale_step**scale_steps)

    def _finish(self, photo: Photo, climb: _Climb) -> Spot:
        scores = climb.scores()
        if not scores:
            return climb.start
        (i, j), (a, b) = climb.cell, climb.turn
        around = {(di, dj): scores.get(((i + di, j + dj), climb.turn)) for di, dj in RING}
        east, north = peak_of_surface(around)
        turn_a = peak_of_line(*(scores.get((climb.cell, (a + d, b))) for d in (-1, 0, 1)))
        turn_b = peak_of_line(*(scores.get((climb.cell, (a, b + d))) for d in (-1, 0, 1)))
        step_m = self.settings.step_m
        x, y = (i + east) * step_m, (j + north) * step_m
        pose = self._pose(climb.start.pose, a + turn_a, b + turn_b)
        ahead = pose.offset_m(photo)
        return Spot(
            climb.start.segment,
            x - ahead[0],
            y - ahead[1],
            pose,
            scores[climb.cell, climb.turn],
            self._radius_m(scores, x, y),
            climb.start.tile,
        )

    def _radius_m(self, scores: dict[tuple[Cell, Turn], float], x: float, y: float) -> float:
        """Radius that holds two of three places: the spread of the cells weighted by their scores, and that of a place within a cell."""
        step_m = self.settings.step_m
        best: dict[Cell, float] = {}
        for (cell, _), score in scores.items():
            best[cell] = max(score, best.get(cell, -1.0))
        top = max(best.values())
        weights = {cell: math.exp((score - top) / self.settings.temperature) for cell, score in best.items()}
        spread = sum(w * ((c[0] * step_m - x) ** 2 + (c[1] * step_m - y) ** 2) for c, w in weights.items()) / sum(weights.values())
        return max(MIN_RADIUS_M, 1.5 * math.sqrt(spread / 2.0 + step_m**2 / 12.0 / 4.0))


def peak_of_line(below: float | None, middle: float | None, above: float | None) -> float:
    """Offset in steps, -0.5 to 0.5, of the peak of a parabola through three scores one step apart; 0 where one is missing or it is flat."""
    if below is None or middle is None or above is None:
        return 0.0
    bend = below - 2.0 * middle + above
    return float(np.clip(0.5 * (below - above) / bend, -0.5, 0.5)) if bend < -1e-9 else 0.0


def peak_of_surface(around: dict[tuple[int, int], float | None]) -> tuple[float, float]:
    """Offset in steps of the peak of a paraboloid fitted to the 3 x 3 scores around the best cell, each axis within -0.5 to 0.5.

    With fewer than nine scores the two axes are fitted by themselves.
    """
    if any(score is None for score in around.values()):
        lines = [[around.get((d, 0)) for d in (-1, 0, 1)], [around.get((0, d)) for d in (-1, 0, 1)]]
        return peak_of_line(*lines[0]), peak_of_line(*lines[1])
    steps = np.array(list(around), np.float64)
    u, v = steps[:, 0], steps[:, 1]
    terms = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)
    fit = np.linalg.lstsq(terms, np.array(list(around.values()), np.float64), rcond=None)[0]
    bend = np.array([[2.0 * fit[3], fit[4]], [fit[4], 2.0 * fit[5]]])
    if np.linalg.eigvalsh(bend).max() >= -1e-9:  # no peak within reach of the fit
        return peak_of_line(*(around[d, 0] for d in (-1, 0, 1))), peak_of_line(*(around[0, d] for d in (-1, 0, 1)))
    east, north = np.clip(np.linalg.solve(bend, -fit[1:3]), -0.5, 0.5)
    return float(east), float(north)
