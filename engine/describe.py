"""Describing: photos at several poses and tiles of imagery become descriptors, through the view that belongs to the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.photo import Photo
from crossgeo.engine.placing import DronePlacer, Offsets, Placer, StreetPlacer
from crossgeo.engine.placing_on_device import drone_inputs
from crossgeo.engine.pose import DronePose, Pose
from crossgeo.engine.runtime import Runtime
from crossgeo.engine.runtime.choose import RuntimeOptions, runtimes
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.engine.runtime.halves import describing, mapping
from crossgeo.engine.runtime.staging import staging
from crossgeo.errors import MismatchError
from crossgeo.indexer.ahead import ahead
from crossgeo.indexer.described import Describe
from crossgeo.indexer.manifest import ModelIdentity
from crossgeo.models.checkpoint import Card, LoadedModel, load_egotr, load_street_branch, street_partner
from crossgeo.models.egotr import EgoTR, EgoTRBranch
from crossgeo.models.fold import fold_branch
from crossgeo.models.street_view import StreetView
from crossgeo.models.views import DroneView

AUTO = "auto"  # street weights: the shipped ones that go with the aerial branch, where there are any
_AERIAL = 2  # of `drone_halves`
_CHUNK, _CHUNK_GPU = 32, 256  # canvases or tiles in memory at a time


class Describer(Protocol):
    """What the search needs of a model: two ways to make descriptors, and whose they are."""

    @property
    def identity(self) -> ModelIdentity:
        """Which aerial weights and view; an index of others is refused."""
        ...

    @property
    def card(self) -> dict[str, Any]:
        """The card of the weights; `thresholds` in it decide the status."""
        ...

    def photo(self, photo: Photo, poses: Sequence[Pose]) -> NDArray[np.float32]:
        """Describe a photo at P poses as (P, D) unit vectors."""
        ...

    def tiles(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Describe (B, P, P, 3) uint8 RGB tiles as (B, D) unit vectors."""
        ...

    @property
    def tiles_run_on(self) -> str:
        """Back end, precision and device that describe tiles: what is kept of one runtime is not given out as another's."""
        ...


@dataclass(frozen=True)
class GroundSide:
    """What photos of one kind go through: how they are placed, the branch and its stem."""

    view: DroneView | StreetView
    placer: Placer[Any]
    branch: Runtime  # descriptors, and the stem's maps of the same pass
    stem: Runtime  # maps of canvases of any size


@dataclass(frozen=True)
class TileDescriber:
    """What tiles go through to be described, and all that those need who only describe tiles."""

    view: DroneView
    branch: Runtime
    identity: ModelIdentity

    @classmethod
    def load(cls, weights: str, options: RuntimeOptions, pictures: Callable[[], Pixels] | None = None) -> TileDescriber:
        """Load it by shipped name or path; raises as `EgoTRDescriber.load`."""
        model, view = load_drone(weights)
        return cls(view, runtimes([drone_halves(model, view)[_AERIAL]], options, pictures)[0], identity_of(model.card, view))

    def tiles(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Describe (B, P, P, 3) uint8 RGB tiles, black where there is no imagery, as (B, D) unit vectors; what `build_index` calls."""
        if self._on_gpu:
            return TileStream(self)(tiles)
        rows = []
        for start in range(0, len(tiles), _CHUNK):
            inputs = np.stack([self.view.tile_input(tile) for tile in tiles[start : start + _CHUNK]])
            rows.append(self.branch.run(self.view.normalise_tiles(inputs).numpy()))
        return np.concatenate(rows)

    @property
    def describe(self) -> Describe:
        """Return what a build describes tiles with: on a GPU a stream, whose next tiles are brought while some are described."""
        return TileStream(self) if self._on_gpu else self.tiles

    @property
    def _on_gpu(self) -> bool:
        return self.branch.device.type == "cuda"


class TileStream:
    """Tiles described by a GPU: they come as bytes, by a thread of their own, and become numbers there."""

    def __init__(self, describer: TileDescriber) -> None:
        """Go through the view and the branch of a describer."""
        self._view, self._branch = describer.view, describer.branch

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Describe (B, P, P, 3) uint8 RGB tiles, black where there is no imagery, as (B, D) unit vectors."""
        return self._described(self._brought([tiles]))

    def stream(self, pieces: Iterable[Sequence[NDArray[np.uint8]]]) -> Iterator[NDArray[np.float32]]:
        """Describe pieces of several batches, one after the other, to (m, D) each; two more are on their way while one is described."""
        with ahead(self._brought, pieces, workers=1, most=2) as brought:
            yield from map(self._described, brought)

    def _described(self, tiles: Tensor) -> NDArray[np.float32]:
        parts = (tiles[start : start + _CHUNK_GPU] for start in range(0, len(tiles), _CHUNK_GPU))
        rows = [self._branch.run_tensors(self._view.normalise_on_device(part))[0].float() for part in parts]
        return torch.cat(rows).cpu().numpy()

    def _brought(self, batches: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Bring a piece to the device, at the size that the view has."""
        inputs = torch.from_numpy(np.stack([self._view.tile_input(tile) for batch in batches for tile in batch]))
        at = self._branch.device
        return staging(at).put(inputs) if at.type == "cuda" else inputs


@dataclass(frozen=True)
class AerialSide:
    """What tiles go through."""

    describer: TileDescriber
    stem: Runtime

    @property
    def view(self) -> DroneView:
        """The view of the tiles."""
        return self.describer.view


class EgoTRDescriber:
    """EgoTR with its views: photos of one kind go through a ground branch, tiles through the aerial branch."""

    def __init__(self, ground: GroundSide, aerial: AerialSide, card: dict[str, Any]) -> None:
        """Join both sides; `card` is that of the ground side's weights."""
        self.ground, self.aerial, self.identity, self.card = ground, aerial, aerial.describer.identity, card

    @property
    def canvas_px(self) -> int:
        """Side of the photo's canvas."""
        return self.ground.view.size_px

    @property
    def canvas_m(self) -> float:
        """Side of the photo's canvas on the ground."""
        return self.ground.view.extent_m

    @property
    def tile_view(self) -> DroneView:
        """The view of the tiles; an index is cut to its size."""
        return self.aerial.view

    @classmethod
    def load(
        cls, weights: str = "egotr-s-drone", options: RuntimeOptions | None = None, pictures: Callable[[], Pixels] | None = None
    ) -> EgoTRDescriber:
        """Load both branches by shipped name or path, for drone photos; `pictures` are for engines that may be built (`runtimes`).

        Raises WeightsError when they are missing or damaged, MismatchError for weights of another view than a drone's, EngineError for a
        runtime that cannot be had.
        """
        model, view = load_drone(weights)
        ground, ground_stem, aerial, aerial_stem = runtimes(drone_halves(model, view), options or RuntimeOptions(), pictures)
        describer = TileDescriber(view, aerial, identity_of(model.card, view))
        return cls(GroundSide(view, DronePlacer(), ground, ground_stem), AerialSide(describer, aerial_stem), model.card)

    def for_street(
        self, weights: str, options: RuntimeOptions | None = None, pictures: Callable[[], Pixels] | None = None
    ) -> EgoTRDescriber:
        """Return a describer of street photos over the same aerial side.

        Raises WeightsError when the weights are missing or damaged, MismatchError when they were trained with another aerial branch, and
        EngineError as `load` does.
        """
        model = load_street_branch(weights)
        partner = model.card["aerial"]
        if partner.get("sha256") != self.identity.sha256:
            name, own = model.card["name"], self.identity.name
            raise MismatchError(f"{name} goes with the weights {partner.get('name')}, not with {own}; choose weights trained together")
        view = StreetView.from_dict(model.card["view"])
        branch, stem = runtimes(street_halves(model, view), options or RuntimeOptions(), pictures)
        return EgoTRDescriber(GroundSide(view, StreetPlacer(), branch, stem), self.aerial, model.card)

    def street_side(
        self, weights: str | None, options: RuntimeOptions | None = None, pictures: Callable[[], Pixels] | None = None
    ) -> EgoTRDescriber | None:
        """Return what `for_street` does, for AUTO of the shipped weights that go with these; None without weights."""
        chosen = street_partner(self.identity.sha256) if weights == AUTO else weights
        return self.for_street(chosen, options, pictures) if chosen else None

    def photo(self, photo: Photo, poses: Sequence[Pose]) -> NDArray[np.float32]:
        """Describe a photo at P poses as (P, D) unit vectors."""
        rows = []
        at_once = _CHUNK if self.ground.branch.device.type == "cpu" else _CHUNK_GPU
        for start in range(0, len(poses), at_once):
            some = poses[start : start + at_once]
            if (inputs := self._inputs_on_gpu(photo, some)) is not None:
                rows.append(self.ground.branch.run_tensors(inputs)[0].float().cpu().numpy())
                continue
            canvases, masks = self._place(photo, some)
            rows.append(self.ground.branch.run(self.ground.view.normalise(canvases, masks).numpy()))
        return np.concatenate(rows)

    def _inputs_on_gpu(self, photo: Photo, poses: Sequence[Pose]) -> Tensor | None:
        """Return the network's inputs for photos from above where a GPU describes them; None where canvases are placed by the processor."""
        side = self.ground
        above = [pose for pose in poses if isinstance(pose, DronePose)]
        if side.branch.device.type != "cuda" or not isinstance(side.placer, DronePlacer) or not isinstance(side.view, DroneView):
            return None
        return (
            None
            if len(above) < len(poses)
            else drone_inputs(side.placer, photo, above, [pose.offset_m(photo) for pose in above], side.view, side.branch.device)
        )

    def photo_with_features(
        self, photo: Photo, poses: Sequence[Pose], centres_m: Offsets | None = None
    ) -> tuple[NDArray[np.float32], list[Tensor], NDArray[np.bool_]]:
        """Describe a photo at P poses as (P, D) unit vectors and return the stem's maps of the same pass, as `photo_features`."""
        canvases, masks = self._place(photo, poses, centres_m)
        rows, *levels = self.ground.branch.run_all(self.ground.view.normalise(canvases, masks).numpy())
        return rows, [torch.from_numpy(level) for level in levels], masks

    def photo_features(
        self, photo: Photo, poses: Sequence[Pose], centres_m: Offsets | None = None, extent_m: float | None = None
    ) -> tuple[list[Tensor], NDArray[np.bool_]]:
        """Return the stem's maps (P, C, S / stride, S / stride) of P canvases, each around a ground offset, and the masks (P, S, S).

        Canvases are `extent_m` wide on the ground, `canvas_m` unless given, and centred where each pose says unless offsets are given.
        Photos go through the ground branch's stem and windows through the aerial branch's, as `training/dense.py` trains them to agree.
        """
        canvases, masks = self._place(photo, poses, centres_m, extent_m)
        levels = self.ground.stem.run_all(self.ground.view.normalise(canvases, masks).numpy())
        return [torch.from_numpy(level) for level in levels], masks

    def _place(
        self, photo: Photo, poses: Sequence[Pose], centres_m: Offsets | None = None, extent_m: float | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        at = centres_m if centres_m is not None else [pose.offset_m(photo) for pose in poses]
        return self.ground.placer.place(photo, poses, at, self.canvas_px, extent_m or self.canvas_m)

    def scene_features(self, windows: NDArray[np.uint8]) -> list[Tensor]:
        """Return the stem's maps of (B, W, W, 3) uint8 RGB windows at the canvas's scale, (B, C, W / stride, W / stride) each."""
        return [torch.from_numpy(level) for level in self.aerial.stem.run_all(self.aerial.view.normalise_tiles(windows).numpy())]

    def tiles(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Describe (B, P, P, 3) uint8 RGB tiles, black where there is no imagery, as (B, D) unit vectors; what `build_index` calls."""
        return self.aerial.describer.tiles(tiles)

    @property
    def describe(self) -> Describe:
        """What a build describes tiles with (`TileDescriber.describe`)."""
        return self.aerial.describer.describe

    @property
    def tiles_run_on(self) -> str:
        """The label of the aerial branch's runtime."""
        return self.aerial.describer.branch.label


def load_drone(weights: str) -> tuple[LoadedModel[EgoTR], DroneView]:
    """Load EgoTR for drone photos with its view; raises WeightsError and MismatchError as `EgoTRDescriber.load`."""
    model = load_egotr(weights)
    return model, drone_view(model.card)


def drone_view(card: Card) -> DroneView:
    """Return the view of weights for drone photos; raises MismatchError for others."""
    kind = card["view"].get("kind", "drone")
    if kind != "drone":
        raise MismatchError(
            f"{card['name']} has a {kind} view, and an index goes with weights of a drone view; choose such weights, "
            "or judge these on pairs with `geo eval retrieval`"
        )
    return DroneView.from_dict(card["view"])


def identity_of(card: Card, view: DroneView) -> ModelIdentity:
    """Return whose descriptors of tiles those of weights are."""
    return ModelIdentity(str(card["name"]), str(card["digest"]), view.digest)


def drone_halves(model: LoadedModel[EgoTR], view: DroneView) -> list[Half]:
    """Return the halves of both branches: ground, its stem, aerial, its stem."""
    ground, aerial = fold_branch(model.module.ground), fold_branch(model.module.aerial)
    return [
        describing(ground, view, "ground", model.identity, view.digest, with_maps=True),
        mapping(ground, view, "ground-maps", model.identity, view.digest),
        describing(aerial, view, "aerial", model.identity, view.digest),
        mapping(aerial, view, "aerial-maps", model.identity, view.digest),
    ]


def street_halves(model: LoadedModel[EgoTRBranch], view: StreetView) -> list[Half]:
    """Return the halves of a branch for street photos: the branch and its stem."""
    branch, digest = fold_branch(model.module), view.digest
    return [
        describing(branch, view, "street", model.identity, digest, with_maps=True),
        mapping(branch, view, "street-maps", model.identity, digest),
    ]
