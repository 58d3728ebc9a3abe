"""Registration: a photo's feature map slid over the aerial one around a rival, which tells true rivals from false and places them finely.

The descriptor says which 60 m look alike; the features before it still know where in them each thing stands. Canvas and window go through
their stems, and their masked correlation at strides 8 and 16 peaks where the photo fits (Lewis 1995).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.fine import Spot, peak_of_line
from crossgeo.engine.photo import Photo
from crossgeo.engine.photo_maps import STRIDES, DenseDescriber, Look, PhotoMaps, Templates
from crossgeo.engine.pose import Pose, part_at
from crossgeo.engine.surfaces import Overlap, Scene, fit_surfaces
from crossgeo.indexer.index import GeoIndex

CLICK_FIT = 0.3  # chance reaches less around a click; a placement that all of a photo agrees with is not moved by it
TURNS_DEG = np.arange(-6.0, 6.1, 1.5)  # at which a heading is settled
BELIEF = 0.015  # what a heading that lies 5 degrees off the given one must fit better by: half of what such a turn costs a photo's fit
_SCENES = 4  # read and sent through the stem at a time
Levels = tuple[Scene, ...]  # one imagery at each of STRIDES


@dataclass(frozen=True)
class RegistrationSettings:
    """How far and how finely a photo is slid, turned and scaled around a rival."""

    reach_px: int = 48  # to each side, a multiple of 16
    headings_deg: tuple[float, ...] = (-6.0, 0.0, 6.0)
    scales: tuple[float, ...] = (0.9, 1.0, 1.11)
    tilts_deg: tuple[float, ...] = (0.0,)
    overlap: Overlap = field(default_factory=Overlap)

    def __post_init__(self) -> None:
        """Refuse a reach at which the strides' surfaces would not span the same shifts (ValueError)."""
        if self.reach_px % STRIDES[-1]:
            raise ValueError(f"reach_px must be a multiple of {STRIDES[-1]}, not {self.reach_px}")


@dataclass(frozen=True)
class Fit:
    """How a photo fits at a rival: the best pose and offset, and the correlation there."""

    pose: Pose
    east_m: float
    north_m: float
    correlation: float  # mean over the strides, -1 to 1


class Registration:
    """Fits photos to the imagery of an index."""

    def __init__(self, index: GeoIndex, describer: DenseDescriber, settings: RegistrationSettings | None = None) -> None:
        self.settings = settings or RegistrationSettings()
        self._index, self._describer = index, describer

    def open(self, photo: Photo, look: Look | None = None) -> PhotoMaps:
        """Start a question: what the other methods know a photo, or a look at a part of it, by."""
        return PhotoMaps(self._describer, photo, look)

    def sweep(self, photo: PhotoMaps, spots: Sequence[Spot], poses: Sequence[Pose]) -> list[Spot]:
        """Return the spots moved to where the photo fits best at the coarse stride, at the best of all poses; their fit is the coarse one.

        A rival's pose is chosen by maps: descriptors hardly tell turns apart.
        """
        templates = photo.at(poses, STRIDES[-1:])
        surfaces = self._coarse(templates, list(self._scenes(photo, spots)))
        fits = [self._best(surface, STRIDES[-1], poses, photo.extent_m) for surface in surfaces]
        return [_moved(photo, spot, fit) for spot, fit in zip(spots, fits, strict=True)]

    def hypotheses(self, photo: PhotoMaps, spot: Spot, poses: Sequence[Pose], keep: int) -> list[Spot]:
        """Return up to `keep` coarse fits around one spot as `sweep` finds them, best first, of poses that differ plainly."""
        templates = photo.at(poses, STRIDES[-1:])
        surface = self._coarse(templates, list(self._scenes(photo, [spot])))[0]
        out: list[Spot] = []
        for row in surface.flatten(1).amax(dim=1).argsort(descending=True).tolist():
            if len(out) == keep:
                break
            if all(_differ(poses[row], other.pose) for other in out):
                fit = self._best(surface[row : row + 1], STRIDES[-1], poses[row : row + 1], photo.extent_m)
                if fit is not None:
                    out.append(_moved(photo, spot, fit))
        return out

    def register(self, photo: PhotoMaps, spots: Sequence[Spot], shrink: float = 1.0) -> list[Spot]:
        """Return the spots moved to where the photo fits at both strides, in the given order, with that fit.

        Turns, scales and tilts are tried around each spot's pose; `shrink` narrows them.
        """
        if not spots:
            return []
        tried = [self._poses(spot.pose, shrink) for spot in spots]
        photo.make(pose for poses in tried for pose in poses)  # of all spots together
        fits = [self._fit(photo, poses, scene) for poses, scene in zip(tried, self._scenes(photo, spots), strict=True)]
        return [_moved(photo, spot, fit) for spot, fit in zip(spots, fits, strict=True)]

    def settle_heading(self, photo: PhotoMaps, spot: Spot, believed_deg: float | None = None) -> Spot:
        """Return the spot turned to the peak of a parabola through its fits at nearby headings, and moved to the best fit there.

        The stem's maps are coarse, so that neighbouring headings fit about alike and the best of a few is off by degrees. A heading against
        grid north that is believed counts as `BELIEF` says. Score and fit stay: what was judged was the place.
        """
        poses = [spot.pose.turned(turn) for turn in TURNS_DEG]
        levels = next(self._scenes(photo, [spot]))
        found = self._surface(photo, poses, levels).flatten(1).amax(dim=1).numpy()
        if believed_deg is not None:
            away = np.array([(pose.heading_deg - believed_deg + 180.0) % 360.0 - 180.0 for pose in poses])
            found = found - BELIEF * (away / 5.0) ** 2
        best = int(found.argmax())
        near = slice(max(best - 2, 0), best + 3)
        bend, slope, _ = np.polyfit(TURNS_DEG[near], found[near], 2)
        turn = float(np.clip(-slope / (2.0 * bend), TURNS_DEG[near][0], TURNS_DEG[near][-1])) if bend < 0.0 else float(TURNS_DEG[best])
        fit = self._fit(photo, [spot.pose.turned(turn)], levels)
        return spot if fit is None else replace(_moved(photo, spot, fit), fit=spot.fit)

    def register_click(self, photo: Photo, click_px: tuple[float, float], spot: Spot, shrink: float = 1.0) -> Spot:
        """Return the spot with position and pose corrected so that the ground around a click (decoded pixels) fits best.

        Away from the photo's centre an unknown tilt, a turned lens or a slope moves the ground; this takes up what it moved. A spot whose
        click shows sky, or around which too little of the photo is seen or fits, comes back as it was.
        """
        look = Look(part_at(photo, click_px))
        try:
            look.offset_m(photo, spot.pose)
        except ValueError:  # sky; the limit is the same at every turn and scale
            return spot
        moved = self.register(self.open(photo, look), [spot], shrink)[0]
        if moved.fit is None or moved.fit < CLICK_FIT:
            return spot
        return replace(spot, x=moved.x, y=moved.y, pose=moved.pose)

    def _coarse(self, templates: Templates, scenes: Sequence[Levels]) -> list[Tensor]:
        coarsest = [scene[-1] for scene in scenes]
        return fit_surfaces(templates.maps[0], templates.cells[0], coarsest, STRIDES[-1], self.settings.overlap)

    def _scenes(self, photo: PhotoMaps, spots: Sequence[Spot]) -> Iterator[Levels]:
        """The imagery around what the look sees of each spot, at the look's scale."""
        size_px = self._describer.canvas_px + 2 * self.settings.reach_px
        size_m = photo.extent_m * size_px / self._describer.canvas_px
        for start in range(0, len(spots), _SCENES):
            read = []
            for spot in spots[start : start + _SCENES]:
                east_m, north_m = photo.look.offset_m(photo.photo, spot.pose)
                read.append(self._index.read_window(spot.segment, spot.x + east_m, spot.y + north_m, size_m, size_px))
            levels = self._describer.scene_features(np.stack([rgb for rgb, _ in read]))
            yield from (tuple(Scene(level[row], valid) for level in levels) for row, (_, valid) in enumerate(read))

    def _fit(self, photo: PhotoMaps, poses: Sequence[Pose], levels: Levels) -> Fit | None:
        """The best pose and shift over the mean of the strides' surfaces; None where nothing fits."""
        return self._best(self._surface(photo, poses, levels), STRIDES[0], poses, photo.extent_m)

    def _surface(self, photo: PhotoMaps, poses: Sequence[Pose], levels: Levels) -> Tensor:
        """The mean over the strides of how well each pose fits at each shift (P, H, W), in steps of the finer one."""
        templates = photo.at(poses)
        total: Tensor | None = None
        for stride, maps, cells, scene in zip(templates.strides, templates.maps, templates.cells, levels, strict=True):
            part = fit_surfaces(maps, cells, [scene], stride, self.settings.overlap)[0]
            if total is not None:
                part = total + F.interpolate(part.unsqueeze(1), size=total.shape[1:], mode="bilinear", align_corners=True)[:, 0]
            total = part
        assert total is not None
        return total / len(templates.strides)

    def _best(self, surface: Tensor, stride: int, poses: Sequence[Pose], extent_m: float) -> Fit | None:
        table = surface.numpy()
        pose, row, column = np.unravel_index(int(table.argmax()), table.shape)
        if table[pose, row, column] <= 0.0:
            return None
        return self._at_peak(table[pose], int(row), int(column), stride * extent_m / self._describer.canvas_px, poses[int(pose)])

    def _at_peak(self, table: NDArray[np.float32], row: int, column: int, cell_m: float, pose: Pose) -> Fit:
        size = table.shape[0]

        def score(r: int, c: int) -> float | None:
            return float(table[r, c]) if 0 <= r < size and 0 <= c < size else None

        right = peak_of_line(score(row, column - 1), score(row, column), score(row, column + 1))
        down = peak_of_line(score(row - 1, column), score(row, column), score(row + 1, column))
        middle = (size - 1) / 2.0
        return Fit(pose, (column + right - middle) * cell_m, (middle - row - down) * cell_m, float(table[row, column]))

    def _poses(self, pose: Pose, shrink: float) -> list[Pose]:
        ways = product(self.settings.headings_deg, self.settings.scales, self.settings.tilts_deg)
        tried = (pose.turned(turn * shrink).scaled(1.0 + (scale - 1.0) * shrink).tilted(tilt * shrink) for turn, scale, tilt in ways)
        return list(dict.fromkeys(tried))


def _differ(pose: Pose, other: Pose) -> bool:
    turn = abs((pose.heading_deg - other.heading_deg + 180.0) % 360.0 - 180.0)
    return turn > 20.0 or max(pose.scale_m, other.scale_m) > 1.3 * min(pose.scale_m, other.scale_m)


def _moved(photo: PhotoMaps, spot: Spot, fit: Fit | None) -> Spot:
    """The spot with its look moved by the fit; a turn or scale of the photo moves its centre against the look."""
    if fit is None:
        return replace(spot, fit=0.0)
    before, after = (photo.look.offset_m(photo.photo, pose) for pose in (spot.pose, fit.pose))
    x, y = spot.x + before[0] + fit.east_m - after[0], spot.y + before[1] + fit.north_m - after[1]
    return replace(spot, x=x, y=y, pose=fit.pose, fit=fit.correlation)
