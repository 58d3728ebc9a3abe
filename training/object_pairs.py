"""Batches for AttenGeo and DetGeo from clicks on disk (CVOGL, G2D): photo, aerial, click and box brought to the network's sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crossgeo.errors import GeoError, InputError
from crossgeo.models.object_network import ObjectConfig
from crossgeo.models.views import Image, resized
from crossgeo.training.datasets.pictures import Pictures
from crossgeo.training.fingerprint import pairs_fingerprint
from crossgeo.training.objects import ObjectBatch
from crossgeo.training.pair_checks import check_pictures, in_parts
from crossgeo.training.pairs import ObjectPair


@dataclass(frozen=True)
class ObjectPairBatch(ObjectBatch):
    """B clicks, and the pairs left out because a picture could not be read."""

    skipped: tuple[str, ...] = ()


class ObjectPairSource:
    """A source of batches (`stream.EpochSource`) over clicked objects that are all there."""

    def __init__(self, pairs: Sequence[ObjectPair], config: ObjectConfig, batch: int, seed: int) -> None:
        """Look at the pairs; raise InputError for an empty set or a pair without its pictures, naming it."""
        check_pictures(pairs)
        self.pairs, self.config, self.size, self.seed = list(pairs), config, batch, seed
        self.epoch_steps = max(1, len(self.pairs) // batch)

    def identity(self) -> dict[str, Any]:
        """Return what the clicks are and how many come at once (`stream.NamedSource`)."""
        return {"data": pairs_fingerprint(self.pairs), "batch": self.size}

    def batch_of(self, number: int) -> ObjectPairBatch:
        """Return a batch; every `epoch_steps` batches show each click once, but for a remainder."""
        epoch, step = divmod(number, self.epoch_steps)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.pairs))
        return self.read(order[step * self.size : (step + 1) * self.size], np.random.default_rng([self.seed, epoch, step]))

    def in_order(self) -> InOrder:
        """Return all clicks once, for evaluation."""
        return InOrder(self)

    def read(self, rows: NDArray[np.int64], rng: np.random.Generator | None) -> ObjectPairBatch:
        """Read clicks; one whose pictures cannot be read is skipped and named, and with `rng` another is drawn in its place.

        Raises InputError when most pictures that are tried cannot be read.
        """
        queue, skipped = [int(row) for row in rows], []
        read: list[tuple[Image, tuple[float, float], Image, NDArray[np.float32]]] = []
        with Pictures() as pictures:
            while queue:
                pair = self.pairs[queue.pop(0)]
                try:
                    read.append(self._one(pair, pictures))
                except GeoError as error:
                    skipped.append(f"{pair.id}: {error}")
                    if len(skipped) >= max(len(rows), 2):
                        raise InputError(
                            f"most pictures cannot be read, the last: {error}; look at the data with `geo data check`"
                        ) from error
                    queue += [int(rng.integers(len(self.pairs)))] if rng is not None else []
        if not read:
            raise InputError(f"no picture can be read, {skipped[-1]}; look at the data with `geo data check`")
        photos, clicks, windows, boxes = zip(*read, strict=True)
        return ObjectPairBatch(
            torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2),
            torch.tensor(clicks, dtype=torch.float32),
            torch.from_numpy(np.stack(windows)).permute(0, 3, 1, 2),
            torch.from_numpy(np.stack(boxes)),
            skipped=tuple(skipped),
        )

    def _one(self, pair: ObjectPair, pictures: Pictures) -> tuple[Image, tuple[float, float], Image, NDArray[np.float32]]:
        """Return photo, click, window and box at the preset's sizes; a street photo is twice as wide as high."""
        side = self.config.photo_px
        size = (2 * side, side) if pair.task == "street" else (side, side)
        photo, aerial, window_px = pictures.photo(pair), pictures.aerial(pair), self.config.window_px
        click = (pair.click_px[0] * size[0] / photo.shape[1], pair.click_px[1] * size[1] / photo.shape[0])
        scale = np.array([window_px / aerial.shape[1], window_px / aerial.shape[0]] * 2, np.float32)
        box = (np.array(pair.box_px, np.float32) * scale).clip(0.0, window_px)
        return resized(photo, size), click, resized(aerial, (window_px, window_px)), box


@dataclass(frozen=True)
class InOrder:
    """The batches of a source one after the other, read anew whenever they are gone through: decoded they would fill memory."""

    source: ObjectPairSource

    def __iter__(self) -> Iterator[ObjectPairBatch]:
        """Read them."""
        rows = np.arange(len(self.source.pairs))
        return (self.source.read(part, None) for part in in_parts(rows, self.source.size))
