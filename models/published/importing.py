"""Published weights brought in: tensors renamed and checked, and a card that says what they are and where they came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from crossgeo import disk
from crossgeo.errors import UsageError, WeightsError
from crossgeo.models.checkpoint import Card, load_weights, save_weights
from crossgeo.models.convnextv2 import ConvNeXtV2
from crossgeo.models.detgeo import PRESETS as DETGEO
from crossgeo.models.egotr import PRESETS as EGOTR
from crossgeo.models.library import imported_weights
from crossgeo.models.panorama import PanoramaView
from crossgeo.models.published import google_hybrid, timm_hybrid
from crossgeo.models.published.detgeo import detgeo_from_published
from crossgeo.models.published.l2ltr import BRANCHES, egotr_from_l2ltr
from crossgeo.models.published.opening import PICKLED, opened
from crossgeo.models.published.timm_hybrid import egotr_from_timm

AerialView = Literal["polar", "plain"]
Branches = Mapping[str, Mapping[str, Tensor]]  # tensors by container
NOT_TOLD = "not told at import"
UNTOLD_VIEW = "the file does not say which aerial view it was trained with; give --view polar or plain, or --probe PAIRS"


def _l2ltr(found: Branches, view: AerialView) -> tuple[Card, dict[str, Tensor]]:
    config = EGOTR["polar-egotr-b" if view == "polar" else "egotr-b"]
    if "." in found:  # of a safetensors file, which has no containers
        found = {
            part: {name.removeprefix(f"{part}."): tensor for name, tensor in found["."].items() if name.startswith(f"{part}.")}
            for part in BRANCHES
        }
    ground, aerial = (found[part] for part in BRANCHES)
    state = egotr_from_l2ltr(ground, aerial, config)
    return {"kind": "egotr", "config": config.to_dict(), "view": PanoramaView.of(config).to_dict()}, state


def _detgeo(found: Branches, view: AerialView) -> tuple[Card, dict[str, Tensor]]:
    config = DETGEO["detgeo"]
    return {"kind": "detgeo", "config": config.to_dict(), "view": config.view.to_dict()}, detgeo_from_published(_only(found))


def _timm_hybrid(found: Branches, view: AerialView) -> tuple[Card, dict[str, Tensor]]:
    tensors = _only(found)
    if google_hybrid.MARK in tensors:
        tensors = google_hybrid.timm_from_google(tensors)
    config, state = egotr_from_timm(tensors, EGOTR["polar-egotr-b" if view == "polar" else "egotr-b"])
    reads = replace(PanoramaView.of(config), mean=timm_hybrid.MEAN, std=timm_hybrid.STD)
    return {"kind": "egotr", "config": config.to_dict(), "view": reads.to_dict()}, state


def _convnext(found: Branches, view: AerialView) -> tuple[Card, dict[str, Tensor]]:
    with torch.device("meta"):
        own = ConvNeXtV2()
    return {"kind": "convnextv2", "config": {"name": "convnextv2_tiny"}, "view": {"kind": "backbone"}}, own.published(_only(found))


def _only(found: Branches) -> Mapping[str, Tensor]:
    (tensors,) = found.values()
    return tensors


@dataclass(frozen=True)
class Origin:
    """A kind of published checkpoint: what it is, where its tensors lie in a file, and what becomes of them."""

    says: str
    containers: tuple[str, ...]
    convert: Callable[[Branches, AerialView], tuple[Card, dict[str, Tensor]]]
    reads_views: bool = False  # whether the same tensors serve a plain or a polar aerial view
    trained: bool = True  # False: a start for training

    @property
    def needs_view(self) -> bool:
        """Whether the weights were trained with one aerial view, and nothing in their file says which."""
        return self.reads_views and self.trained


_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_PLAIN = ("state_dict", "model", ".")
ORIGINS: dict[str, Origin] = {
    "l2ltr": Origin("EgoTR as its authors published it (L2LTR)", ("+".join(BRANCHES),), _l2ltr, reads_views=True),
    "detgeo": Origin("DetGeo as its authors published it", ("state_dict", "."), _detgeo),
    "timm-vit-r50": Origin(
        "timm's vit_base_r50_s16_224.orig_in21k, or Google's R50+ViT-B_16.npz", _PLAIN, _timm_hybrid, reads_views=True, trained=False
    ),
    "timm-convnextv2": Origin("timm's convnextv2_tiny", _PLAIN, _convnext, trained=False),
}


@dataclass(frozen=True)
class Published:
    """A published checkpoint that is open."""

    path: Path
    origin: str
    found: Branches

    def read_as(self, view: AerialView) -> tuple[Card, dict[str, Tensor]]:
        """Return kind, config and view for a card, and the tensors under our names, mapped from disk.

        Raises WeightsError that names missing, extra and misshapen tensors.
        """
        try:
            card, state = ORIGINS[self.origin].convert(self.found, view)
        except WeightsError as error:
            raise WeightsError(f"{self.path}: {error}; is it another model's?") from error
        for name, tensor in state.items():
            _check_numbers(self.path, name, tensor)
        return card, state

    def write(
        self, out: Path, *, view: AerialView | None = None, name: str | None = None, licence: str | None = None, about: Mapping[str, Any]
    ) -> Card:
        """Write the weights with a card, their values as they are; return the card, to which `about` is added.

        Raises UsageError where the `view` must be told and is not, WeightsError as `read_as`, and what `save_weights` does of the disk.
        """
        check_view(str(self.path), self.origin, view)
        card, state = self.read_as(view or "plain")
        source = {"from": self.origin, "says": ORIGINS[self.origin].says, "file": self.path.name, "sha256": disk.sha256_of(self.path)}
        training = {"data": NOT_TOLD if ORIGINS[self.origin].trained else "ImageNet; a start for training, of no use as it is"}
        card |= {"name": name or out.stem, "licence": licence or NOT_TOLD, "source": source, "training": training, **about}
        out.parent.mkdir(parents=True, exist_ok=True)
        return {**card, "digest": save_weights(out, state, card, dtype=None)}


@contextmanager
def published(path: Path, origin: str) -> Iterator[Published]:
    """Open a published checkpoint of an origin; what it gives is gone when the block ends.

    Raises UsageError for an origin that is not known, and what `opened` raises.
    """
    if origin not in ORIGINS:
        raise UsageError(f"{origin!r} is no kind of published weights; choose from {', '.join(ORIGINS)}")
    with opened(path, ORIGINS[origin].containers) as found:
        yield Published(path, origin, found)


def check_view(what: str, origin: str, view: str | None) -> None:
    """Raise UsageError where an aerial view is told of weights that know none, or not told of weights that need one."""
    kind = ORIGINS[origin]
    if view and not kind.reads_views:
        raise UsageError(f"{what}: weights of {origin} know no aerial views; leave --view out")
    if not view and kind.needs_view:
        raise UsageError(f"{what}: {UNTOLD_VIEW}")


def _check_numbers(path: Path, name: str, tensor: Tensor) -> None:
    """Raise WeightsError for a tensor whose numbers are none that a network here computes with."""
    if name.endswith("num_batches_tracked"):
        return
    if tensor.dtype not in _FLOATS:
        raise WeightsError(f"{path}: {name} is {tensor.dtype}, not of {', '.join(str(kind) for kind in _FLOATS)}; is it quantised?")
    if not torch.isfinite(tensor.float()).all():
        raise WeightsError(f"{path}: {name} holds values that are no finite numbers; its training went wrong, or the file is damaged")


def use_of(card: Card) -> str:
    """Return what can be done with imported weights, `{name}` standing for theirs."""
    source, view = card.get("source"), card.get("view")
    start = source.get("from", "") if isinstance(source, dict) else ""
    if card["kind"] == "convnextv2":
        return "start from it with `geo train attengeo --preset attengeo --imagenet {name}`"
    if start in ORIGINS and not ORIGINS[start].trained:
        return "start from it with `geo train egotr --data DIR --start-from {name}`"
    if card["kind"] == "detgeo":
        return (
            "use it with `geo query --object-weights {name}`, judge it with `geo eval objects DIR --weights {name}`, "
            "train it on with `geo train attengeo --data DIR --start-from {name}`"
        )
    if card["kind"] == "attengeo":
        return "use it with `geo query --object-weights {name}`"
    if card["kind"] == "egotr-street":
        return "use it with `geo query --street-weights {name}`"
    if isinstance(view, dict) and view.get("kind", "drone") == "drone":
        return "use it with `geo index build --weights {name}` and `geo query --weights {name}`"
    return "judge it with `geo eval retrieval DIR --weights {name}`"


def start_tensors(name_or_path: str) -> dict[str, Tensor]:
    """Return the tensors of a published file that training starts from, under its own names: a file, or imported weights by name.

    Raises UsageError for weights that a run goes on from as they are, WeightsError for a file that is missing or none.
    """
    path = Path(name_or_path)
    if name_or_path in imported_weights():
        card, state = load_weights(name_or_path)
        if card["kind"] != "convnextv2":
            raise UsageError(f"{name_or_path} are weights of {card['kind']!r}, not of a backbone; start from them with --start-from")
        return state
    if not path.is_file() and path.suffix not in (".safetensors", *PICKLED):
        raise WeightsError(f"{name_or_path}: no such file, nor imported weights of that name; `geo weights list` shows those")
    with opened(path, _PLAIN) as found:
        tensors = {name: tensor.clone() for name, tensor in _only(found).items()}
    return google_hybrid.timm_from_google(tensors) if google_hybrid.MARK in tensors else tensors
