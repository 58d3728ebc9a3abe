"""The object step: AttenGeo, or DetGeo, on a window of imagery around the clicked ground gives the object's box, polygon and place."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.feature_cache import WINDOWS, FeatureCache, Features
from crossgeo.engine.fine import Spot
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import FoundObject
from crossgeo.engine.runtime.choose import RuntimeOptions, runtimes
from crossgeo.engine.runtime.halves import object_halves
from crossgeo.engine.runtime.pictures import of_index
from crossgeo.engine.status import threshold
from crossgeo.errors import UsageError
from crossgeo.geodesy import geojson_polygon, to_lat_lon
from crossgeo.indexer.grid import Window
from crossgeo.indexer.index import GeoIndex, Segment
from crossgeo.kernels.box_decode import decode_best, decode_boxes, fuse_boxes
from crossgeo.kernels.dihedral import TURNS, turn_images, turn_points, unturn_boxes
from crossgeo.models.checkpoint import load_object_network
from crossgeo.models.object_network import PREDICTIONS, ObjectNetwork
from crossgeo.models.street_view import StreetObjectView
from crossgeo.models.views import ObjectQuery, ObjectView

CENTRE_STEP_M = 2.0  # windows are centred on this grid, so that clicks near each other share one; less than training moves them
PHOTOS_AT_ONCE = 8  # one click's turns: on a CPU more take longer, each, since their maps no longer fit its caches
PHOTOS_AT_ONCE_GPU = 64  # eight clicks' turns, since a GPU is hardly busy with one's
WINDOW_BYTES = 64 << 20  # of the turns of windows that are encoded together, so that any number of clicks takes bounded memory
KEY_FORMAT = 2  # of cached features: to be raised with any change of what the network is shown
WindowPlace = tuple[Segment, float, float]
"""Metres x, y of a segment."""


class Locator(Protocol):
    """What the search needs to answer a click."""

    @property
    def reach_m(self) -> float:
        """How far from a street photo's camera objects are looked for; infinite for drone photos."""
        ...

    @property
    def least_confidence(self) -> float:
        """A box less sure than this is none: the click shows nothing that can be found."""
        ...

    def find_many(self, photo: Photo, clicks_px: Sequence[tuple[float, float]], spots: Sequence[Spot]) -> Sequence[FoundObject | None]:
        """Return the object under each click (decoded pixels) of a photo that lies at that click's spot; None where there is no imagery."""
        ...


@dataclass(frozen=True)
class _Window:
    """A window of imagery on the grid of CENTRE_STEP_M, with the line of sight (px) of a click in a street photo.

    That line is a channel of the network's input, so that two street clicks hardly ever share features. Only the first layer could be
    shared, which is linear, and it is a few hundredths of the work.
    """

    segment: Segment
    column: int
    row: int
    sight: tuple[float, float, float, float] | None

    @property
    def centre(self) -> tuple[float, float]:
        """x, y in metres of its segment."""
        return self.column * CENTRE_STEP_M, self.row * CENTRE_STEP_M

    @property
    def text(self) -> str:
        """Which window it is: a segment's name says what is in its files, whichever index it is of."""
        return json.dumps([self.segment.name, self.column, self.row, self.sight])


@dataclass(frozen=True)
class Shown:
    """All that the network is shown of one click, as `find` shows it: T turns of photo and window, and what they are before the turns."""

    asked: ObjectQuery
    window: NDArray[np.uint8]  # (S, S, 3) imagery, north up
    valid: NDArray[np.bool_]  # (S, S)
    segment: Segment
    bounds: Window  # of the window, metres in its segment's CRS
    sight: tuple[float, float, float, float] | None  # px of the window: the line of sight of a street click
    window_turns: tuple[int, ...]  # of `kernels.dihedral`
    photo_turns: tuple[int, ...]  # what is seen from the street is only mirrored
    windows: Tensor  # (T, 3, S, S) uint8
    sights: Tensor | None  # (T, 4) px
    photos: Tensor  # (T, 3, s, s) uint8
    clicks: Tensor  # (T, 2) px


class ObjectFinder:
    """A network that finds objects, with its view; the reference half runs once a window and its features are kept.

    Window and photo are shown in all eight turns and mirrorings, and the boxes fused: on held-out buildings that was worth eight points
    of accu@0.5 over the best box of one.
    """

    def __init__(
        self, index: GeoIndex, model: ObjectNetwork, view: ObjectView, options: RuntimeOptions | None = None, least_confidence: float = 0.0,
        features: FeatureCache | None = None, weights_sha256: str | None = None, turns: Sequence[int] = range(TURNS),
        photos_at_once: int | None = None,
    ) -> None:  # fmt: skip
        """Join an index and a model, whose halves run as `options` say; it is shown `turns` of window and photo.

        `photos_at_once` turns of photos go through in one pass; without it as many as suit the device.
        `features`, which others may use too, wants the digest of the weights; without it the finder has a cache of its own.
        """
        if features is not None and weights_sha256 is None:
            raise ValueError("a cache that others use needs the digest of the weights, or their features would be mixed up")
        self.view, self.least_confidence, self.turns = view, least_confidence, tuple(turns)
        self._index = index
        self._stride = model.config.stride
        halves = object_halves(model.eval(), (model.config.name, weights_sha256 or ""))
        self.window_bytes = (
            len(self.turns) * np.dtype(WINDOWS.dtype).itemsize * model.reference_channels * (view.window_px // self._stride) ** 2
        )
        options, at_once = _suited(options or RuntimeOptions(), photos_at_once)
        self._reference, self._query = runtimes(halves, options, lambda: of_index(index))
        self._anchors = model.anchors.to(self._query.device)
        self._clicks_at_once = max(1, at_once // len(self.turns))
        self._windows_at_once = max(1, WINDOW_BYTES // (len(self.turns) * 3 * view.window_px**2))
        self.features = features or FeatureCache()
        self._weights_sha256 = weights_sha256
        self._made_of = self._identity()
        self.weights: str | None = None  # where its network came from, for those who want the definition beside what runs

    @classmethod
    def load(
        cls, index: GeoIndex, weights: str = "attengeo-s-drone", features: FeatureCache | None = None, options: RuntimeOptions | None = None
    ) -> ObjectFinder:
        """Load weights by shipped name or path.

        Raises WeightsError when they are missing or damaged, EngineError for a runtime that cannot be had.
        """
        model = load_object_network(weights)
        least = threshold(model.card, "confidence", 0.0)
        finder = cls(index, model.module, model.module.config.view, options, least, features, model.sha256)
        finder.weights = weights
        return finder

    def over(self, index: GeoIndex) -> ObjectFinder:
        """Return a finder with the same network and features over another index."""
        other = copy(self)
        other._index = index
        other._made_of = other._identity()
        return other

    def _identity(self) -> str:
        """All that decides what features are made of, but the window itself."""
        made = [KEY_FORMAT, self._weights_sha256, self._reference.label, self.view.to_dict(), self.turns, self._index.gsd_m]
        return json.dumps(made, sort_keys=True)

    @property
    def reach_m(self) -> float:
        """The reach of the street view, infinite of the drone's."""
        return self.view.reach_m if isinstance(self.view, StreetObjectView) else math.inf

    def find(self, photo: Photo, click_px: tuple[float, float], spot: Spot) -> FoundObject | None:
        """Return the object under a click (decoded pixels) of a photo that lies at a spot.

        None where the index has no imagery there; UsageError when the click shows sky.
        """
        return self.find_many(photo, [click_px], [spot])[0]

    def find_many(self, photo: Photo, clicks_px: Sequence[tuple[float, float]], spots: Sequence[Spot]) -> list[FoundObject | None]:
        """Return the object under each of n clicks of a photo, each with the spot where the photo lies, as `find` does, asked together.

        The windows that are not kept are encoded together, and the query half runs on up to `photos_at_once` turns of photos in one pass,
        whichever windows they fall on.
        """
        asked = [self._ask(photo, click, spot) for click, spot in zip(clicks_px, spots, strict=True)]
        out: list[FoundObject | None] = []
        for start in range(0, len(asked), self._windows_at_once):
            out += self._found(asked[start : start + self._windows_at_once])
        return out

    def _found(self, asked: Sequence[tuple[ObjectQuery, _Window]]) -> list[FoundObject | None]:
        """Answer as many clicks as have their windows' features in memory at once."""
        windows = list(dict.fromkeys(window for _, window in asked))
        made = dict(zip(windows, self._features(windows), strict=True))
        seen = [n for n, (_, window) in enumerate(asked) if len(made[window])]
        out: list[FoundObject | None] = [None] * len(asked)
        for start in range(0, len(seen), self._clicks_at_once):
            some = seen[start : start + self._clicks_at_once]
            boxes = self._look([asked[n][0] for n in some], [made[asked[n][1]] for n in some])
            for n, (*box, confidence) in zip(some, boxes.tolist(), strict=True):
                out[n] = self._object(asked[n][1], box, confidence)
        return out

    def warm(self, places: Iterable[WindowPlace]) -> Iterator[int]:
        """Make the features of the windows around places of ground that will be clicked, where they are not kept already.

        Yields how many windows are done, some at a time. Only for drone photos: a street click's window shows its line of sight. Each
        window takes 0.1 s of a core and 0.5 MB of AttenGeo-S, and clicks are served whose ground is less than a metre from a place, so
        this is for places, not for towns. `warming.warm_index` does it for ground, within the room that there is.
        """
        asked = list(dict.fromkeys(self._around(places)))
        for start in range(0, len(asked), self._windows_at_once):
            some = asked[start : start + self._windows_at_once]
            self.features.get_or_make(self._keys(some), partial(self._encode, some))
            yield start + len(some)

    def kept(self, places: Iterable[WindowPlace]) -> list[bool]:
        """Say of the windows around places whether their features are on disk."""
        return [self.features.on_disk(key) for key in self._keys(list(self._around(places)))]

    def _around(self, places: Iterable[WindowPlace]) -> Iterator[_Window]:
        if isinstance(self.view, StreetObjectView):
            raise ValueError("windows of street clicks show their lines of sight; there is nothing to make before the click")
        for segment, x, y in places:
            yield _Window(segment, round(x / CENTRE_STEP_M), round(y / CENTRE_STEP_M), None)

    def _ask(self, photo: Photo, click_px: tuple[float, float], spot: Spot) -> tuple[ObjectQuery, _Window]:
        """What the network is shown of a click, and in which window."""
        try:
            asked = self.view.query(photo.pixels, spot.pose.geometry(photo), click_px)
        except ValueError as error:
            raise UsageError(f"{photo.name}: the point shows sky, not ground; choose one on the ground") from error
        column, row = (round((at + away) / CENTRE_STEP_M) for at, away in zip((spot.x, spot.y), asked.centre_m, strict=True))
        sight = None
        if asked.sight_m is not None and isinstance(self.view, StreetObjectView):
            sight = self.view.sight_px(asked.sight_m, (column * CENTRE_STEP_M - spot.x, row * CENTRE_STEP_M - spot.y))
        return asked, _Window(spot.segment, column, row, sight)

    def _look(self, asked: Sequence[ObjectQuery], features: Sequence[Tensor]) -> NDArray[np.float64]:
        """Boxes in px of their windows, and confidences, (n, 5), of n clicks, T turns of each in one batch; all that leaves the device."""
        photos, clicks = [], []
        for one in asked:
            _, turned, clicked = self._turned_photos(one)
            photos.append(turned)
            clicks.append(clicked)
        (found,) = self._query.run_tensors(torch.cat([*features]), torch.cat(photos), torch.cat(clicks))
        with torch.inference_mode():
            raw = found.reshape(len(found), len(self._anchors), PREDICTIONS, *found.shape[-2:])  # (n T, A, 5, g, g)
            box, best = self._best_of_one(raw) if len(self.turns) == 1 else self._fused(raw, len(asked))
            return torch.cat([box.clamp(0.0, self.view.window_px), best[:, None]], dim=1).cpu().numpy().astype(np.float64)

    def _best_of_one(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The most confident box (n, 4) of n single looks, and how confident (n,), which is the paper's answer (eq. 12)."""
        box, best = decode_best(raw, self._anchors, self._stride)
        return unturn_boxes(box, self.turns[0], self.view.window_px), best

    def _fused(self, raw: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """One box (n, 4) of all that were seen in each click's turns, and how confident (n,)."""
        decoded = decode_boxes(raw, self._anchors, self._stride)
        boxes, confidence = (v.view(count, len(self.turns), *v.shape[1:]) for v in decoded)
        turned = [unturn_boxes(boxes[:, at], turn, self.view.window_px) for at, turn in enumerate(self.turns)]  # of (n, A, g, g, 4)
        return fuse_boxes(torch.stack(turned, dim=1).flatten(1, -2), confidence.flatten(1))

    def _keys(self, windows: Sequence[_Window]) -> list[bytes]:
        return [hashlib.sha256(f"{self._made_of} {window.text}".encode()).digest() for window in windows]

    def _features(self, windows: Sequence[_Window]) -> list[Tensor]:
        """The features of each window's turns, from the cache where they are there; none, of length 0, where there is no imagery."""
        return self.features.tensors(self._keys(windows), partial(self._encode, windows), self._query.device)

    def _encode(self, windows: Sequence[_Window], missing: Sequence[int]) -> list[Features]:
        """Encode those that are missing in one pass; features too large for float16, in which they are kept, stay as they are."""
        out: list[Features] = [np.zeros((0, 0, 0, 0), np.float16)] * len(missing)
        seen, shown, sights = [], [], []
        for at, window in enumerate(windows[number] for number in missing):
            pixels, valid = self._index.read_window(window.segment, *window.centre, self.view.window_extent_m, self.view.window_px)
            if valid.any():
                turned, sight = self._turned_windows(fill(pixels, valid, self.view.mean), window.sight)
                seen.append(at)
                shown.append(turned)
                sights += [] if sight is None else [sight]
        if seen:
            (encoded, *_) = self._reference.run_all(torch.cat(shown).numpy(), *([torch.cat(sights).numpy()] if sights else []))
            for at, features in zip(seen, np.split(encoded, len(seen)), strict=True):
                with np.errstate(over="ignore"):
                    small = features.astype(np.float16)
                out[at] = small if np.isfinite(small).all() else features.copy()
        return out

    def _turned_photos(self, asked: ObjectQuery) -> tuple[tuple[int, ...], Tensor, Tensor]:
        """The turns T in which a photo is shown, (T, 3, s, s) photos and (T, 2) clicks."""
        image = torch.from_numpy(fill(asked.canvas, asked.mask, self.view.mean)[None]).permute(0, 3, 1, 2)  # (1, 3, s, s)
        # A canvas on the ground turns with its window; what is seen from the street is only mirrored.
        turns = self.turns if asked.sight_m is None else tuple(turn - turn % 4 for turn in self.turns)
        clicks = [turn_points(torch.tensor(asked.click_px), turn, self.view.photo_px) for turn in turns]
        return turns, torch.cat([turn_images(image, turn) for turn in turns]), torch.stack(clicks).float()

    def _turned_windows(self, window: NDArray[np.uint8], sight: tuple[float, ...] | None) -> tuple[Tensor, Tensor | None]:
        """The turns (T, 3, S, S) in which a window is shown, and with a line of sight (T, 4)."""
        images = torch.from_numpy(window[None]).permute(0, 3, 1, 2)  # (1, 3, S, S)
        windows = torch.cat([turn_images(images, turn) for turn in self.turns])
        if sight is None:
            return windows, None
        return windows, torch.stack([turn_points(torch.tensor(sight), turn, self.view.window_px).float() for turn in self.turns])

    def shown(self, photo: Photo, click_px: tuple[float, float], spot: Spot) -> Shown | None:
        """Return what `find` shows the network, given the same; None where there is no imagery. Raises as `find` does."""
        asked, at = self._ask(photo, click_px, spot)
        pixels, valid = self._index.read_window(at.segment, *at.centre, self.view.window_extent_m, self.view.window_px)
        if not valid.any():
            return None
        photo_turns, photos, clicks = self._turned_photos(asked)
        windows, sights = self._turned_windows(fill(pixels, valid, self.view.mean), at.sight)
        bounds = Window.at(*at.centre, self.view.window_extent_m, self._index.gsd_m)
        return Shown(asked, pixels, valid, at.segment, bounds, at.sight, self.turns, photo_turns, windows, sights, photos, clicks)

    def _object(self, window: _Window, box: Sequence[float], confidence: float) -> FoundObject:
        """The box, in pixels of a window, as a place."""
        segment = window.segment
        bounds = Window.at(*window.centre, self.view.window_extent_m, self._index.gsd_m)
        metres = bounds.size_m / self.view.window_px
        x0, x1 = (bounds.x_min + edge * metres for edge in (box[0], box[2]))
        y0, y1 = (bounds.y_max - edge * metres for edge in (box[3], box[1]))
        lat, lon = to_lat_lon(segment.crs, 0.5 * (x0 + x1), 0.5 * (y0 + y1))
        polygon = geojson_polygon(segment.crs, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        return FoundObject(lat, lon, (box[0], box[1], box[2], box[3]), polygon, x1 - x0, y1 - y0, confidence)


def _suited(options: RuntimeOptions, photos_at_once: int | None) -> tuple[RuntimeOptions, int]:
    """The options with which so many photos are one pass on a GPU, and how many there are where nobody says."""
    if not options.device.startswith("cuda"):
        return options, photos_at_once or PHOTOS_AT_ONCE
    at_once = photos_at_once or PHOTOS_AT_ONCE_GPU
    return replace(options, batch=max(options.batch, 1 << (at_once.bit_length() - 1))), at_once


def fill(image: NDArray[np.uint8], mask: NDArray[np.bool_], mean: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Return an (S, S, 3) image whose unseen pixels hold the model's mean colour, so that they normalise to about 0."""
    colour = np.round(np.array(mean) * 255.0).astype(np.uint8)
    return np.where(mask[..., None], image, colour)
