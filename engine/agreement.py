"""Agreement: whether all of a photo fits at one placement, and not only the part that suggested it.

A chance fit of one part finds its best shift, turn and scale among thousands; held in place, the other parts then disagree with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from crossgeo.engine.fine import Spot
from crossgeo.engine.photo import Photo
from crossgeo.engine.photo_maps import STRIDES, DenseDescriber, Look, PhotoMaps
from crossgeo.engine.pose import Part
from crossgeo.indexer.index import GeoIndex
from crossgeo.kernels.correlation import masked_correlation, seen_cells

_SCENES = 16  # in one pass of the stem


@dataclass(frozen=True)
class AgreementSettings:
    """How closely the parts of a photo are compared (`Pose.parts`), and how far each may stray from the placement."""

    extent_m: float = 30.0
    reach_px: int = 16  # of the canvas, 3 m at 30 m
    headings_deg: tuple[float, ...] = (-3.0, 0.0, 3.0)
    min_cells: float = 12.0  # of the finest stride, that a part and the imagery must share to have a say
    min_total: float = 60.0  # that all parts together must share
    overlap_power: float = 0.0  # of the share of the photo that lies on imagery, by which the agreement is lessened


@dataclass(frozen=True)
class PartFit:
    """How one part of a photo fits where a placement puts it."""

    part: Part
    fit: float  # correlation at the best of the small shifts and turns it may take
    cells: float  # that part and imagery share there: its weight; 0 where it shows sky, or too little imagery lies
    shown: float  # cells that the photo shows of it


class Agreement:
    """Judges placements of a photo by all of its parts."""

    def __init__(self, index: GeoIndex, describer: DenseDescriber, settings: AgreementSettings | None = None) -> None:
        self.settings = settings or AgreementSettings()
        self._index, self._describer = index, describer

    def judge(self, photo: Photo, spots: Sequence[Spot]) -> list[Spot]:
        """Return the spots with the mean correlation of all parts on imagery as their fit, each part weighing what it shares.

        A placement of which too little lies on imagery has no agreement: its fit is 0.
        """
        if not spots:
            return []
        shared, total, seen = np.zeros(len(spots)), np.zeros(len(spots)), np.zeros(len(spots))
        for part in spots[0].pose.parts(photo):
            for number, own in enumerate(self._fits(photo, part, spots)):
                shared[number] += own.fit * own.cells
                total[number] += own.cells
                seen[number] += own.shown
        fits = shared / np.maximum(total, 1.0) * (total / np.maximum(seen, 1.0)) ** self.settings.overlap_power
        return [
            replace(spot, fit=float(fit) if cells >= self.settings.min_total else 0.0)
            for spot, fit, cells in zip(spots, fits, total, strict=True)
        ]

    def by_part(self, photo: Photo, spot: Spot) -> list[PartFit]:
        """Return what `judge` joins for one placement, part by part."""
        return [self._fits(photo, part, [spot])[0] for part in spot.pose.parts(photo)]

    def _fits(self, photo: Photo, part: Part, spots: Sequence[Spot]) -> list[PartFit]:
        looked, fits = PhotoMaps(self._describer, photo, Look(part, self.settings.extent_m)), []
        for start in range(0, len(spots), _SCENES):
            fits += [PartFit(part, *found) for found in self._of_part(looked, spots[start : start + _SCENES])]
        return fits

    def _of_part(self, photo: PhotoMaps, spots: Sequence[Spot]) -> list[tuple[float, float, float]]:
        """Correlation, shared cells and cells that the photo shows of one part at each spot; zeros where it shows sky."""
        stride = STRIDES[0]
        size_px = self._describer.canvas_px + 2 * self.settings.reach_px
        size_m = photo.extent_m * size_px / self._describer.canvas_px
        out, windows, masks, seen = [(0.0, 0.0, 0.0)] * len(spots), [], [], []
        for number, spot in enumerate(spots):
            try:
                east_m, north_m = photo.look.offset_m(photo.photo, spot.pose)
            except ValueError:
                continue
            rgb, valid = self._index.read_window(spot.segment, spot.x + east_m, spot.y + north_m, size_m, size_px)
            seen.append(number)
            windows.append(rgb)
            masks.append(valid)
        if not seen:
            return out
        scenes, shown = self._describer.scene_features(np.stack(windows))[0], seen_cells(np.stack(masks), stride)
        turned = {number: [spots[number].pose.turned(turn) for turn in self.settings.headings_deg] for number in seen}
        photo.make(pose for poses in turned.values() for pose in poses)  # of all spots together: a few at a time take half as long again
        for row, number in enumerate(seen):
            templates = photo.at(turned[number], (stride,))
            surface, overlap = masked_correlation(templates.maps[0], templates.cells[0], scenes[row : row + 1], shown[row : row + 1])
            surface = torch.where(overlap >= self.settings.min_cells, surface, torch.full_like(surface, -2.0)).flatten()
            best = int(surface.argmax())
            found = bool(surface[best] > -2.0)
            all_cells = float(templates.cells[0].sum(dim=(1, 2)).mean())
            out[number] = (float(surface[best]), float(overlap.flatten()[best]), all_cells) if found else (0.0, 0.0, all_cells)
        return out
