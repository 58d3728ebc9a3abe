"""Boxes of clicked objects against the truth, in pixels of the aerial picture and in metres on the ground (accu@0.25 and accu@0.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from crossgeo.errors import InputError, MismatchError
from crossgeo.geodesy import distance_m
from crossgeo.kernels.box_decode import decode_best
from crossgeo.models.checkpoint import load_object_network
from crossgeo.models.object_network import ObjectConfig, ObjectNetwork
from crossgeo.models.views import Image, resized
from crossgeo.training.datasets.pictures import Pictures
from crossgeo.training.evaluation.controls import random_boxes
from crossgeo.training.evaluation.places import WITHIN_M
from crossgeo.training.evaluation.questions import Progress
from crossgeo.training.evaluation.statistics import Figure, mean, median, share
from crossgeo.training.pairs import Box, ObjectPair, ObjectSet, Task

IOUS = (0.25, 0.5)
SCALE_SHARE = 0.2  # by which a picture's ground may differ from what the weights read
_BATCH = 4


@dataclass(frozen=True)
class FoundBox:
    """One answer: a box in pixels of the aerial picture against the true one."""

    id: str
    kind: str
    box_px: Box
    iou: float
    metres: float | None  # between the middles of both boxes, on the ground; None where the set does not place its pictures
    lat_lon: tuple[float, float] | None  # of the middle of the answer's box


@dataclass(frozen=True)
class ObjectModel:
    """A network that finds objects, with the name of its weights."""

    name: str
    sha256: str
    module: ObjectNetwork
    device: str = "cpu"

    @classmethod
    def load(cls, weights: str, device: str = "cpu") -> ObjectModel:
        """Load weights by shipped name or path; raise WeightsError when they are missing, damaged or of another kind."""
        model = load_object_network(weights)
        return cls(str(model.card["name"]), model.sha256, model.module.to(device), device)

    def untrained(self, seed: int) -> ObjectModel:
        """Return the same network as it is before any training."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            module = type(self.module)(self.module.config).eval().to(self.device)
        return ObjectModel("untrained", "", module, self.device)

    def check_fits(self, objects: ObjectSet) -> None:
        """Raise MismatchError where the weights do not fit the set (`check_fits`)."""
        check_fits(self.name, self.module.config, objects)

    def boxes(self, questions: Sequence[tuple[ObjectPair, Image, Image]]) -> list[Box]:
        """Find the clicked object of each (pair, photo, aerial): xyxy in the aerial's own pixels, clipped to it (eq. 12, no fusing).

        Photo and aerial fill the network's squares, a street photo twice as wide, as CVOGL's do; the click goes with its photo.
        """
        out: dict[int, Box] = {}
        for task in dict.fromkeys(pair.task for pair, _, _ in questions):  # each has photos of one shape: a batch
            rows = [row for row, (pair, _, _) in enumerate(questions) if pair.task == task]
            out |= zip(rows, self._boxes([questions[row] for row in rows], task), strict=True)
        return [out[row] for row in range(len(questions))]

    def _boxes(self, questions: Sequence[tuple[ObjectPair, Image, Image]], task: Task) -> list[Box]:
        """Find the objects of B questions of one task."""
        config = self.module.config
        size, square = (config.photo_px * (2 if task == "street" else 1), config.photo_px), (config.window_px, config.window_px)
        own = np.array([photo.shape[1::-1] for _, photo, _ in questions], np.float64)  # (B, 2) width and height
        clicks = np.array([pair.click_px for pair, _, _ in questions]) * (np.array(size) / own)  # (B, 2)
        photos = self._images([resized(photo, size) for _, photo, _ in questions])  # (B, 3, h, w)
        windows = self._images([resized(aerial, square) for _, _, aerial in questions])  # (B, 3, S, S)
        with torch.inference_mode():
            raw = self.module(windows, photos, torch.tensor(clicks, dtype=torch.float32, device=self.device))  # (B, A, 5, g, g)
            best, _ = decode_best(raw, self.module.anchors, config.stride)  # (B, 4)
        sides = np.array([aerial.shape[1::-1] * 2 for _, _, aerial in questions], np.float64)  # (B, 4)
        boxes = np.clip(best.double().cpu().numpy() / config.window_px * sides, 0.0, sides)
        return [(float(a), float(b), float(c), float(d)) for a, b, c, d in boxes]

    def _images(self, pictures: Sequence[Image]) -> torch.Tensor:
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(self.device)


def check_fits(name: str, config: ObjectConfig, objects: ObjectSet) -> None:
    """Raise MismatchError where a model reads photos or windows of another kind or size than a set's pictures show."""
    if config.look_deg:
        raise MismatchError(f"{name} reads street photos turned towards the click, not as {objects.name} has them; choose others")
    reads_m = config.window_px * config.window_gsd_m
    for pair in objects:
        if pair.aerial_gsd_m is None or objects.aerial_px is None:
            continue
        shows_m = pair.aerial_gsd_m * objects.aerial_px[0]
        if abs(shows_m - reads_m) > SCALE_SHARE * reads_m:
            raise MismatchError(
                f"{name} reads {reads_m:.0f} m of ground, and the pictures of {objects.name} show {shows_m:.0f} m; "
                "choose a preset or weights for such pictures"
            )


# Finds the box of each (pair, photo, aerial) in pixels of the aerial.
FindBoxes = Callable[[Sequence[tuple[ObjectPair, Image, Image]]], Sequence[Box]]


def find_objects(objects: ObjectSet, find: FindBoxes, progress: Progress, swap: Sequence[int] | None = None) -> list[FoundBox]:
    """Ask about every object; with `swap` the photo and click of another row are shown, which is a control.

    Raises InputError for an empty set or a picture that is missing, naming the first.
    """
    _check_files(objects)
    out: list[FoundBox] = []
    with Pictures() as pictures:
        for start in range(0, len(objects), _BATCH):
            progress("finding objects", start, len(objects))
            rows = range(start, min(start + _BATCH, len(objects)))
            shown = [objects.pairs[row if swap is None else swap[row]] for row in rows]
            own = [objects.pairs[row] for row in rows]
            boxes = find([(other, pictures.photo(other), pictures.aerial(pair)) for other, pair in zip(shown, own, strict=True)])
            out += [judged(pair, box) for pair, box in zip(own, boxes, strict=True)]
    progress("finding objects", len(objects), len(objects))
    return out


def judged(pair: ObjectPair, box: Box) -> FoundBox:
    """Compare a box in pixels of the aerial with the truth."""
    metres, lat_lon = None, None
    if pair.aerial_crs is not None:
        lat_lon = pair.lat_lon_of(_middle(box))
        metres = distance_m(*lat_lon, *pair.lat_lon_of(_middle(pair.box_px)))
    return FoundBox(pair.id, pair.kind, box, iou_of(box, pair.box_px), metres, lat_lon)


def iou_of(a: Box, b: Box) -> float:
    """Return the intersection over union of two xyxy boxes, in float64; 0 where one has no area."""
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]) for box in (a, b)]
    union = sum(areas) - shared
    return shared / union if union > 0.0 else 0.0


def object_figures(found: Sequence[FoundBox], seed: int = 0) -> dict[str, Figure]:
    """Return accu@0.25, accu@0.5 and the mean IoU, and the error of the box's middle in metres where the set places its pictures."""
    overlaps = np.array([one.iou for one in found])
    figures = {f"accu@{limit:g}": share(overlaps >= limit) for limit in IOUS} | {"mean_iou": mean(overlaps)}
    metres = np.array([one.metres for one in found if one.metres is not None])
    if len(metres):
        figures["median_m"] = median(metres, seed)
        figures |= {f"within_{limit:g}_m": share(metres <= limit) for limit in WITHIN_M}
    return figures


def by_kind(found: Sequence[FoundBox]) -> dict[str, dict[str, Figure]]:
    """Return the figures of each kind of object, most frequent first."""
    kinds: dict[str, list[FoundBox]] = {}
    for one in found:
        kinds.setdefault(one.kind, []).append(one)
    return {kind: object_figures(kinds[kind]) for kind in sorted(kinds, key=lambda name: (-len(kinds[name]), name))}


def chance_boxes(objects: ObjectSet, sizes_from: ObjectSet, seed: int = 0) -> list[FoundBox]:
    """Answer with boxes of the sizes of other objects, anywhere in the picture (drawn, seeded)."""
    sizes = [(pair.box_px[2] - pair.box_px[0], pair.box_px[3] - pair.box_px[1]) for pair in sizes_from]
    side = objects.aerial_px or (1024, 1024)
    drawn: NDArray[np.float64] = random_boxes(sizes, (float(side[0]), float(side[1])), len(objects), seed)
    return [judged(pair, (float(a), float(b), float(c), float(d))) for pair, (a, b, c, d) in zip(objects, drawn, strict=True)]


def other_rows(count: int, seed: int) -> list[int]:
    """Return for each row another row, each once (a seeded cycle): whose photo and click stand in for its own."""
    order = np.random.default_rng([seed, 4]).permutation(count)
    out = np.empty(count, np.int64)
    out[order] = np.roll(order, 1)
    return [int(row) for row in out]


def _check_files(objects: ObjectSet) -> None:
    if not len(objects):
        raise InputError(f"{objects.root}: {objects.name} holds no objects to evaluate; choose another split")
    missing = [path for pair in objects for path in (pair.photo, pair.aerial) if not path.exists()]
    if missing:
        more = f", nor are {len(missing) - 1} others of {objects.name}" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]} is not there{more}; get the set again, or check it with `geo data check`")


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2.0, (box[1] + box[3]) / 2.0
