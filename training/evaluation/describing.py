"""Models as the evaluation asks them: shots and aerial pictures in, descriptors out, through the view that belongs to the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.errors import MismatchError, WeightsError
from crossgeo.models.checkpoint import load_egotr, load_street_branch, read_card
from crossgeo.models.egotr import EgoTRBranch, EgoTRConfig
from crossgeo.models.panorama import PanoramaView
from crossgeo.models.street_view import StreetView
from crossgeo.models.views import DroneView, Image, Mask, normalise, resized
from crossgeo.training.datasets.university1652 import LAYOUTS as UNIVERSITY1652
from crossgeo.training.evaluation.retrieval import Descriptors
from crossgeo.training.evaluation.shots import Shot
from crossgeo.training.pairs import PairSet

BATCH = 16
_SPARE_M = 0.5  # by which a picture may be smaller than what the model reads


@dataclass(frozen=True)
class PairModel:
    """Two branches with how shots and aerial pictures become their input."""

    name: str
    sha256: str
    kind: str  # of the view: panorama, street, drone
    config: EgoTRConfig
    ground: EgoTRBranch
    aerial: EgoTRBranch
    place: Callable[[Shot, float], tuple[Image, Mask]]  # a shot, its middle looking along a heading, on the model's canvas
    cut: Callable[[Image, float | None], Image]  # an aerial picture with its metres a pixel, as the model's tile
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    device: str = "cpu"
    unrolled: Callable[[Tensor], Tensor] | None = None  # of a polar view on a GPU: (1, S, S, 3) tiles there as the model's input

    @classmethod
    def load(cls, weights: str, device: str = "cpu", aerial_weights: str | None = None) -> PairModel:
        """Load weights of any view by shipped name or path; `aerial_weights` hold the other branch of street weights, unless shipped.

        Raises WeightsError when they are missing, damaged or of another kind, MismatchError for a view that is not known.
        """
        card = read_card(weights)
        if card["kind"] == "egotr-street":
            street = load_street_branch(weights)
            partner = load_egotr(aerial_weights or str(street.card["aerial"]["name"]))
            if partner.sha256 != street.card["aerial"].get("sha256"):
                found = partner.card["name"]
                raise WeightsError(f"{weights}: goes with other weights than the {found} found here; take both from one source")
            return cls.of(street.card, EgoTRConfig.from_dict(street.card["config"]), street.module, partner.module.aerial, device)
        model = load_egotr(weights)
        return cls.of(model.card, model.module.config, model.module.ground, model.module.aerial, device)

    @classmethod
    def of(cls, card: dict[str, Any], config: EgoTRConfig, ground: EgoTRBranch, aerial: EgoTRBranch, device: str = "cpu") -> PairModel:
        """Join two branches with the view of a card (`name`, `digest`, `view`); raise MismatchError for a view that is not known."""
        name, sha256, view = str(card["name"]), str(card["digest"]), card["view"]
        ground, aerial = ground.eval().to(device), aerial.eval().to(device)
        kind = str(view.get("kind"))
        if kind == "panorama":
            wide = PanoramaView.from_dict(view)
            return cls(
                name, sha256, kind, config, ground, aerial, lambda shot, heading: wide.canvas(shot.pixels, shot.geometry(heading)),
                lambda picture, _gsd: wide.aerial_input(picture), wide.mean, wide.std, device,
                wide.polar_inputs if wide.polar and torch.device(device).type == "cuda" else None,
            )  # fmt: skip
        if kind == "street":
            flat = StreetView.from_dict(view)
            return cls(
                name, sha256, kind, config, ground, aerial, lambda shot, heading: flat.canvas(shot.pixels, shot.geometry(heading)),
                lambda picture, gsd_m: middle_of(picture, gsd_m, flat.extent_m, flat.size_px), flat.mean, flat.std, device,
            )  # fmt: skip
        if kind == "drone":
            above = DroneView.from_dict(view)
            square = (above.size_px, above.size_px)
            whole = np.ones(square, np.bool_)
            # The set does not say how high its drone flew: photo and picture both fill the square, as published.
            return cls(
                name, sha256, kind, config, ground, aerial, lambda shot, _heading: (resized(shot.pixels, square), whole),
                lambda picture, _gsd: resized(picture, square), above.mean, above.std, device,
            )  # fmt: skip
        raise MismatchError(f"{name} has a view {kind!r}, which pairs have no pictures for; choose one of panorama, street or drone")

    def untrained(self, seed: int) -> PairModel:
        """Return the same network as it is before any training."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            ground, aerial = (EgoTRBranch(self.config, branch.image_hw).eval().to(self.device) for branch in (self.ground, self.aerial))
        return replace(self, name="untrained", sha256="", ground=ground, aerial=aerial)

    def check_fits(self, pairs: PairSet) -> None:
        """Raise MismatchError where the weights' view cannot read the photos of a set."""
        as_taken = pairs.layout in UNIVERSITY1652.values()
        if as_taken != (self.kind == "drone"):
            photos = "photos that name no heading" if as_taken else "photos from the street"
            wanted = "a drone view" if as_taken else "a panorama or street view"
            raise MismatchError(f"{self.name} has a {self.kind} view, and {pairs.name} holds {photos}; choose weights of {wanted}")
        if self.kind == "street" and any(pair.aerial_gsd_m is None for pair in pairs):
            raise MismatchError(
                f"{self.name} reads ground at a known scale, and {pairs.name} does not say how many metres a pixel covers; "
                "choose weights of a panorama view"
            )

    def photos(self, shots: Sequence[Shot], headings_deg: Sequence[Sequence[float]]) -> Descriptors:
        """Describe B shots, each at H headings of its middle, as (B, H, D) unit vectors."""
        placed = [self.place(shot, heading) for shot, own in zip(shots, headings_deg, strict=True) for heading in own]
        rows = self._run(self.ground, np.stack([image for image, _ in placed]), np.stack([mask for _, mask in placed]))
        return rows.reshape(len(shots), -1, rows.shape[1])

    def tiles(self, pictures: Sequence[Image], gsds_m: Sequence[float | None]) -> Descriptors:
        """Describe B aerial pictures, north up, as (B, D) unit vectors; pure black is no imagery where a drone's tiles are read."""
        if (unrolled := self.unrolled) is not None:
            inputs = (unrolled(torch.from_numpy(np.ascontiguousarray(picture))[None].to(self.device)) for picture in pictures)
            return self._describe(self.aerial, (torch.cat(some) for some in iter(lambda: list(islice(inputs, BATCH)), [])))
        cut = np.stack([self.cut(picture, gsd_m) for picture, gsd_m in zip(pictures, gsds_m, strict=True)])
        return self._run(self.aerial, cut, None if self.kind == "panorama" else np.asarray(cut.any(axis=-1)))

    def _run(self, branch: EgoTRBranch, images: Image, masks: NDArray[np.bool_] | None) -> Descriptors:
        parts = (slice(start, start + BATCH) for start in range(0, len(images), BATCH))
        inputs = (normalise(images[part], None if masks is None else masks[part], self.mean, self.std) for part in parts)
        return self._describe(branch, inputs)

    def _describe(self, branch: EgoTRBranch, inputs: Iterable[Tensor]) -> Descriptors:
        with torch.inference_mode():
            return np.concatenate([branch(batch.to(self.device)).cpu().numpy() for batch in inputs])


def middle_of(picture: Image, gsd_m: float | None, extent_m: float, size_px: int) -> Image:
    """Cut the middle `extent_m` metres of a picture at `size_px`; raise MismatchError where it shows less, or no scale is known."""
    if gsd_m is None:
        raise MismatchError("an aerial picture without a scale; choose weights of a panorama view")
    side_m = min(picture.shape[:2]) * gsd_m
    if side_m < extent_m - _SPARE_M:
        raise MismatchError(f"the aerial pictures show {side_m:.0f} m, and the weights read {extent_m:g} m; choose other weights")
    kept = min(*picture.shape[:2], round(extent_m / gsd_m))
    top, left = (picture.shape[0] - kept) // 2, (picture.shape[1] - kept) // 2
    return resized(picture[top : top + kept, left : left + kept], (size_px, size_px))
