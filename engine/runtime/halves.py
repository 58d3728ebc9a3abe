"""The halves of the models: both branches of EgoTR and their stems' maps; what AttenGeo makes of a window and what it makes of a click."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crossgeo.engine.runtime import Array
from crossgeo.engine.runtime.half import Half, Pixels, Slot
from crossgeo.kernels.box_decode import decode_boxes
from crossgeo.models.fold import FoldedBranch, stem_maps
from crossgeo.models.object_network import ObjectNetwork
from crossgeo.models.street_view import StreetView
from crossgeo.models.views import DroneView

MAPS = ("maps_8", "maps_16")


class Describe(nn.Module):
    """Images to descriptors."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Describe (B, 3, H, W) normalised images as (B, D) unit vectors."""
        return (self.branch(images),)


class DescribeWithMaps(nn.Module):
    """Images to descriptors and the stem's maps of the same pass."""

    def __init__(self, branch: FoldedBranch) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map (B, 3, H, W) normalised images to (B, D) unit vectors and maps (B, C, h, w) at strides 8 and 16."""
        described, maps = self.branch.with_maps(images)
        return described, *maps


class Maps(nn.Module):
    """Images of any size to the stem's maps."""

    def __init__(self, stem: nn.Module) -> None:
        super().__init__()
        self.stem = stem

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map (B, 3, H, W) normalised images to maps (B, C, h, w) at strides 8 and 16."""
        return stem_maps(self.stem, images)  # type: ignore[arg-type]


class Reference(nn.Module):
    """Windows to the features that serve every click on them."""

    def __init__(self, network: ObjectNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor, sights: Tensor | None = None) -> tuple[Tensor]:
        """Encode (B, 3, S, S) uint8 windows, with (B, 4) lines of sight where the model takes them, as (B, C, g, g)."""
        return (self.network.encode_reference(windows, sights).grid,)


class Query(nn.Module):
    """Photos with clicks against a window's features."""

    def __init__(self, network: ObjectNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, photos: Tensor, clicks: Tensor) -> tuple[Tensor]:
        """Ask (B, C, g, g) features for (B, 2) clicks on (B, 3, h, w) uint8 photos: raw (B, 5 A, g, g)."""
        query = self.network.encode_query(photos, clicks)
        return (self.network.fuse(features.to(query.dtype), query),)


def describing(
    branch: FoldedBranch, view: DroneView | StreetView, name: str, model: tuple[str, str], digest: str, with_maps: bool = False
) -> Half:
    """Return the half that describes images, a branch of its own; `with_maps` gives the stem's maps, too."""
    return Half(
        name=name,
        module=DescribeWithMaps(branch) if with_maps else Describe(branch),
        inputs=(Slot("images", (3, *branch.image_hw)),),
        outputs=("descriptors", *MAPS) if with_maps else ("descriptors",),
        model=model,
        view=digest,
        examples=lambda pictures: (_normalised(pictures, view, branch.image_hw),),
        judge="descriptors",
    )


def mapping(branch: FoldedBranch, view: DroneView | StreetView, name: str, model: tuple[str, str], digest: str) -> Half:
    """Return the half that gives the maps of a branch's stem, for images of any size; the stem is a copy of the branch's."""
    height, width = branch.image_hw
    return Half(
        name=name,
        module=Maps(copy.deepcopy(branch.stem)),
        inputs=(Slot("images", (3, "height", "width")),),
        outputs=MAPS,
        model=model,
        view=digest,
        examples=lambda pictures: (_normalised(pictures, view, (height + 32, width + 64)),),
        judge="maps",
    )


def object_halves(network: ObjectNetwork, model: tuple[str, str]) -> list[Half]:
    """Return the halves of a network that finds objects: windows, and clicks against them."""
    told = json.dumps(network.config.to_dict(), sort_keys=True)  # its view, and all else that its pixels are
    digest = hashlib.sha256(told.encode()).hexdigest()[:16]
    return [of_windows(network, model, digest), of_clicks(network, model, digest)]


def of_windows(network: ObjectNetwork, model: tuple[str, str], digest: str) -> Half:
    """Return the half that encodes windows."""
    side, sighted = network.config.window_px, network.config.look_deg > 0.0
    windows = Slot("windows", (3, side, side), "uint8")

    def examples(pictures: Pixels) -> tuple[Array, ...]:
        given = _sized(_filled(pictures, network.config.mean), (side, side))
        rng = np.random.default_rng(0)
        return (given, rng.uniform(0.0, side, (len(given), 4)).astype(np.float32)) if sighted else (given,)

    return Half(
        "reference", Reference(network), (windows, Slot("sights", (4,))) if sighted else (windows,), ("features",), model, digest, examples,
        "maps",
    )  # fmt: skip


def of_clicks(network: ObjectNetwork, model: tuple[str, str], digest: str) -> Half:
    """Return the half that answers clicks, from features of windows."""
    config = network.config
    side, cells = config.photo_px, config.window_px // config.stride
    windows = of_windows(network, model, digest)

    def examples(pictures: Pixels) -> tuple[Array, ...]:
        """A click into a picture, with the features of the same ground."""
        photos = _sized(_filled(pictures, config.mean), (side, side))
        clicks = np.random.default_rng(1).uniform(0.25 * side, 0.75 * side, (len(photos), 2)).astype(np.float32)
        at = next(network.parameters()).device
        with torch.inference_mode():
            features = network.encode_reference(*(torch.from_numpy(rows).to(at) for rows in windows.examples(pictures))).grid
        return features.float().cpu().numpy(), photos, clicks

    def decode(raw: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        laid = torch.from_numpy(raw).view(len(raw), len(config.anchors), 5, cells, cells)
        boxes = decode_boxes(laid, config.anchors, config.stride)[0]  # (N, A, g, g, 4)
        return boxes.flatten(1, 3).numpy(), laid[:, :, 4].flatten(1).numpy()

    slots = Slot("features", (network.reference_channels, cells, cells)), Slot("photos", (3, side, side), "uint8"), Slot("clicks", (2,))
    return Half("query", Query(network), slots, ("raw",), model, digest, examples, "boxes", decode)


def _sized(pictures: Pixels, hw: tuple[int, int]) -> Pixels:
    """Bring (N, S, S, 3) pictures to a size, as (N, 3, H, W)."""
    sized = np.stack([cv2.resize(picture, (hw[1], hw[0]), interpolation=cv2.INTER_AREA) for picture in pictures])
    return np.ascontiguousarray(sized.transpose(0, 3, 1, 2))


def _normalised(pictures: Pixels, view: DroneView | StreetView, hw: tuple[int, int]) -> NDArray[np.float32]:
    """Bring pictures to a network as tiles come to it: where there is no imagery stands the mean."""
    sized = np.ascontiguousarray(_sized(_filled(pictures, view.mean), hw).transpose(0, 2, 3, 1))
    return cast(NDArray[np.float32], view.normalise(sized, None).numpy())


def _filled(pictures: Pixels, mean: tuple[float, float, float]) -> Pixels:
    """Return pictures whose pixels of pure black, which is no imagery, hold a model's mean colour, as it sees rims of imagery."""
    seen = pictures.any(axis=-1, keepdims=True)
    return np.where(seen, pictures, np.round(255.0 * np.array(mean)).astype(np.uint8))
