"""The object step: AttenGeo, or DetGeo, on a window of imagery around the clicked ground gives the object's box, polygon and place."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from crossgeo.engine.fine import Spot
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import FoundObject
from crossgeo.engine.runtime.torch import cpu_has_fast_bf16
from crossgeo.engine.status import threshold
from crossgeo.errors import UsageError
from crossgeo.geodesy import geojson_polygon, to_lat_lon
from crossgeo.indexer.grid import Window
from crossgeo.indexer.index import GeoIndex, Segment
from crossgeo.kernels.box_decode import decode_boxes, fuse_boxes
from crossgeo.kernels.dihedral import TURNS, turn_images, turn_points, unturn_boxes
from crossgeo.models.checkpoint import load_object_network
from crossgeo.models.object_network import ObjectNetwork, ReferenceFeatures
from crossgeo.models.street_view import StreetObjectView
from crossgeo.models.views import ObjectView

CENTRE_STEP_M = 2.0  # windows are centred on this grid, so that clicks near each other share one; less than training moves them
CACHED_WINDOWS = 32  # of eight turns each: 32 MB of AttenGeo-S's features, 256 MB of AttenGeo's


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

    def find(self, photo: Photo, click_px: tuple[float, float], spot: Spot) -> FoundObject | None:
        """Return the object under a click (decoded pixels) of a photo that lies at a spot; None where there is no imagery."""
        ...


class ObjectFinder:
    """A network that finds objects, with its view; the reference half runs once a window and its features are kept.

    Window and photo are shown in all eight turns and mirrorings, and the boxes fused: on held-out buildings that was worth eight points
    of accu@0.5 over the best box of one.
    """

    def __init__(
        self, index: GeoIndex, model: ObjectNetwork, view: ObjectView, precision: str = "auto", least_confidence: float = 0.0
    ) -> None:
        self.view, self.least_confidence = view, least_confidence
        self._index, self._model = index, model.eval()
        self._bf16 = precision == "bf16" or (precision == "auto" and cpu_has_fast_bf16())
        self._cache: OrderedDict[Hashable, ReferenceFeatures | None] = OrderedDict()

    @classmethod
    def load(cls, index: GeoIndex, weights: str = "attengeo-s-drone") -> ObjectFinder:
        """Load weights by shipped name or path; raise WeightsError when they are missing or damaged."""
        model = load_object_network(weights)
        return cls(index, model.module, model.module.config.view, least_confidence=threshold(model.card, "confidence", 0.0))

    @property
    def reach_m(self) -> float:
        """The reach of the street view, infinite of the drone's."""
        return self.view.reach_m if isinstance(self.view, StreetObjectView) else math.inf

    def find(self, photo: Photo, click_px: tuple[float, float], spot: Spot) -> FoundObject | None:
        """Return the object under a click (decoded pixels) of a photo that lies at a spot.

        None where the index has no imagery there; UsageError when the click shows sky.
        """
        try:
            asked = self.view.query(photo.pixels, spot.pose.geometry(photo), click_px)
        except ValueError as error:
            raise UsageError(f"{photo.name}: the point shows sky, not ground; choose one on the ground") from error
        column, row = (round((at + away) / CENTRE_STEP_M) for at, away in zip((spot.x, spot.y), asked.centre_m, strict=True))
        features = self._features(spot, column, row, asked.sight_m)
        if features is None:
            return None
        images = torch.from_numpy(fill(asked.canvas, asked.mask, self.view.mean)[None]).permute(0, 3, 1, 2)  # (1, 3, S, S)
        # A canvas on the ground turns with its window; what is seen from the street is only mirrored.
        turns = range(TURNS) if asked.sight_m is None else [turn - turn % 4 for turn in range(TURNS)]
        photos = torch.cat([turn_images(images, turn) for turn in turns])
        clicks = torch.stack([turn_points(torch.tensor(asked.click_px), turn, self.view.photo_px) for turn in turns])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            raw = self._model.query(features, photos, clicks)  # (8, A, 5, g, g)
            turned, confidence = decode_boxes(raw, self._model.anchors, self._model.config.stride)
            every = torch.stack([unturn_boxes(boxes, turn, self.view.window_px) for turn, boxes in enumerate(turned)])
            fused, sure = fuse_boxes(every.flatten(0, -2), confidence.flatten())
        box = np.clip(fused.numpy().astype(np.float64), 0.0, self.view.window_px)
        return self._object(spot.segment, column, row, box, float(sure))

    def _features(self, spot: Spot, column: int, row: int, sight_m: tuple[float, float] | None) -> ReferenceFeatures | None:
        x, y = column * CENTRE_STEP_M, row * CENTRE_STEP_M
        sight = self.view.sight_px(sight_m, (x - spot.x, y - spot.y)) if sight_m and isinstance(self.view, StreetObjectView) else None
        key = (spot.segment.number, column, row, sight)
        if key not in self._cache:
            window, valid = self._index.read_window(spot.segment, x, y, self.view.window_extent_m, self.view.window_px)
            self._cache[key] = self._encode(fill(window, valid, self.view.mean), sight) if valid.any() else None
            if len(self._cache) > CACHED_WINDOWS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _encode(self, window: NDArray[np.uint8], sight: tuple[float, ...] | None) -> ReferenceFeatures:
        images = torch.from_numpy(window[None]).permute(0, 3, 1, 2)  # (1, 3, S, S)
        turned = [torch.cat([turn_images(images, turn) for turn in range(TURNS)])]
        if sight is not None:
            turned.append(torch.stack([turn_points(torch.tensor(sight), turn, self.view.window_px) for turn in range(TURNS)]))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            return self._model.encode_reference(*turned)

    def _object(self, segment: Segment, column: int, row: int, box: NDArray[np.float64], confidence: float) -> FoundObject:
        """The box, in pixels of a window, as a place."""
        bounds = Window.at(column * CENTRE_STEP_M, row * CENTRE_STEP_M, self.view.window_extent_m, self._index.gsd_m)
        metres = bounds.size_m / self.view.window_px
        x0, x1 = (bounds.x_min + edge * metres for edge in (box[0], box[2]))
        y0, y1 = (bounds.y_max - edge * metres for edge in (box[3], box[1]))
        lat, lon = to_lat_lon(segment.crs, 0.5 * (x0 + x1), 0.5 * (y0 + y1))
        polygon = geojson_polygon(segment.crs, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        edges = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        return FoundObject(lat, lon, edges, polygon, x1 - x0, y1 - y0, confidence)


def fill(image: NDArray[np.uint8], mask: NDArray[np.bool_], mean: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Return an (S, S, 3) image whose unseen pixels hold the model's mean colour, so that they normalise to about 0."""
    colour = np.round(np.array(mean) * 255.0).astype(np.uint8)
    return np.where(mask[..., None], image, colour)
