"""Weights on disk: safetensors in float16 with a card (JSON in the metadata key `card`); never a pickle.

The card names the architecture (`kind`, `config`), the view, training data, metrics, licence and credits. Its `digest` is the SHA-256 of
all tensors; the metadata key `card_sha256` is that of the card's own text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from crossgeo.errors import WeightsError
from crossgeo.models.attengeo import AttenGeo, AttenGeoConfig
from crossgeo.models.detgeo import DetGeo
from crossgeo.models.egotr import EgoTR, EgoTRBranch, EgoTRConfig
from crossgeo.models.library import find_weights, shipped_weights
from crossgeo.models.object_models import make_object_network, read_object_config
from crossgeo.models.object_network import ObjectNetwork
from crossgeo.models.tensors import check_header, few, read_tensors, write_tensors

Card = dict[str, Any]
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class LoadedModel(Generic[Module]):
    """A model ready for inference with the card of its weights; `identity` is (name, sha256 of the tensors)."""

    module: Module
    card: Card
    sha256: str

    @property
    def identity(self) -> tuple[str, str]:
        """Name and digest of the weights."""
        return str(self.card["name"]), self.sha256


def tensors_digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of all tensors, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_weights(path: Path, state: Mapping[str, Tensor], card: Card, *, dtype: torch.dtype | None = torch.float16) -> str:
    """Write tensors in `dtype`, None for their own, with their card, the whole file or none; return the digest, which the card gets too.

    Raises ValueError for a card without name, kind, config or view, and for values that are not finite in `dtype`; LimitError on a full
    disk and InputError where no file may be made, with the file before it left alone.
    """
    for key in ("name", "kind", "config", "view"):
        if key not in card:
            raise ValueError(f"a card needs {key!r}")
    small = {
        name: tensor.detach().cpu().to(dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in state.items()
    }
    for name, tensor in small.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds values that are not finite as {tensor.dtype}")
    digest = tensors_digest(small)
    text = json.dumps({**card, "digest": digest}, sort_keys=True)
    write_tensors(path, small, {"card": text, "card_sha256": _text_digest(text)})
    return digest


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_card(name_or_path: str | Path) -> Card:
    """Read the card alone, without the tensors."""
    path = find_weights(name_or_path)
    check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error}); fetch or train the weights again") from error
    if "card" not in metadata:
        raise WeightsError(f"{path}: the file has no card, so nobody knows what model it is for; give weights that `geo train` wrote")
    if _text_digest(metadata["card"]) != metadata.get("card_sha256", _text_digest(metadata["card"])):
        raise WeightsError(f"{path}: its card does not match the card's checksum; the file is damaged, fetch it again")
    try:
        card = json.loads(metadata["card"])
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path}: its card is not JSON ({error}); the file is damaged, fetch it again") from error
    if not isinstance(card, dict) or not {"name", "kind", "config", "view", "digest"} <= card.keys():
        raise WeightsError(f"{path}: its card lacks name, kind, config, view or digest; these are not weights that this program wrote")
    return card


def load_weights(name_or_path: str | Path) -> tuple[Card, dict[str, Tensor]]:
    """Read card and tensors (as stored); raise WeightsError when the file is damaged or its tensors do not match the card's digest."""
    path = find_weights(name_or_path)
    card = read_card(path)
    state = read_tensors(path)
    digest = tensors_digest(state)
    if digest != card["digest"]:
        says = str(card["digest"])[:12]
        raise WeightsError(f"{path}: its tensors have SHA-256 {digest[:12]}, its card says {says}; the file is damaged, fetch it again")
    return card, state


def _fill(module: Module, name_or_path: str | Path, card: Card, state: dict[str, Tensor]) -> LoadedModel[Module]:
    expected = module.state_dict()
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    wrong = sorted(name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape)
    if missing or extra or wrong:
        found = f"missing {few(missing, 3) or 'none'}, extra {few(extra, 3) or 'none'}, of another shape {few(wrong, 3) or 'none'}"
        raise WeightsError(f"{name_or_path}: the tensors do not fit {card['name']}: {found}; fetch or train the weights again")
    module.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in state.items()})
    return LoadedModel(module.eval(), card, str(card["digest"]))


def _build(make: Callable[[dict[str, Any]], Module], kind: str, name_or_path: str | Path, card: Card) -> Module:
    """Make the module that a card describes, untrained; raise WeightsError when it is of another kind or its configuration is not one."""
    if card["kind"] != kind:
        raise WeightsError(f"{name_or_path}: these are weights of {card['kind']!r}, not of {kind!r}; choose others")
    try:
        return make(card["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{name_or_path}: its card's config is none of {kind!r} ({error}); it may be of a newer version") from error


def load_egotr(name_or_path: str | Path = "egotr-s-drone") -> LoadedModel[EgoTR]:
    """Load both branches of EgoTR in float32, ready for inference."""
    card, state = load_weights(name_or_path)
    module = _build(lambda config: EgoTR(EgoTRConfig.from_dict(config)), "egotr", name_or_path, card)
    return _fill(module, name_or_path, card, state)


def load_street_branch(name_or_path: str | Path = "egotr-s-street") -> LoadedModel[EgoTRBranch]:
    """Load a ground branch for street photos in float32; its card's `aerial` names the weights whose aerial branch it goes with."""
    card, state = load_weights(name_or_path)

    def make(config: dict[str, Any]) -> EgoTRBranch:
        return EgoTRBranch(EgoTRConfig.from_dict(config), EgoTRConfig.from_dict(config).ground_hw)

    module = _build(make, "egotr-street", name_or_path, card)
    if not isinstance(card.get("aerial"), dict):
        raise WeightsError(f"{name_or_path}: its card names no aerial branch to go with; take the weights from their source again")
    return _fill(module, name_or_path, card, state)


def street_partner(aerial_sha256: str) -> str | None:
    """Return the name of shipped street weights that go with an aerial branch, None where there are none."""
    for name in shipped_weights():
        card = read_card(name)
        if card["kind"] == "egotr-street" and card.get("aerial", {}).get("sha256") == aerial_sha256:
            return name
    return None


def load_attengeo(name_or_path: str | Path = "attengeo-s-drone") -> LoadedModel[AttenGeo]:
    """Load AttenGeo in float32, ready for inference."""
    card, state = load_weights(name_or_path)
    module = _build(lambda config: AttenGeo(AttenGeoConfig.from_dict(config)), "attengeo", name_or_path, card)
    return _fill(module, name_or_path, card, state)


def load_object_network(name_or_path: str | Path) -> LoadedModel[ObjectNetwork]:
    """Load whichever network finds clicked objects, AttenGeo or DetGeo, in float32, ready for inference."""
    card, state = load_weights(name_or_path)
    kind = DetGeo.kind if card["kind"] == DetGeo.kind else AttenGeo.kind

    def make(config: dict[str, Any]) -> ObjectNetwork:
        return make_object_network(read_object_config(kind, config))

    module = _build(make, kind, name_or_path, card)
    return _fill(module, name_or_path, card, state)
