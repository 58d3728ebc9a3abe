"""Weights on disk: safetensors in float16 with a card (JSON in the metadata key `card`); never a pickle.

The card names the architecture (`kind`, `config`), the view, training data, metrics, licence and credits; `digest` is the SHA-256 of all tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from crossgeo.errors import WeightsError
from crossgeo.models.attengeo import AttenGeo, AttenGeoConfig
from crossgeo.models.egotr import EgoTR, EgoTRConfig
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

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


def save_weights(path: Path, state: Mapping[str, Tensor], card: Card, *, dtype: torch.dtype = torch.float16) -> str:
    """Write tensors in `dtype` with their card; return the digest, which the card gets too."""
    for key in ("name", "kind", "config", "view"):
        if key not in card:
            raise ValueError(f"a card needs {key!r}")
    small = {name: tensor.detach().cpu().to(dtype if tensor.is_floating_point() else tensor.dtype).contiguous() for name, tensor in state.items()}
    digest = tensors_digest(small)
    save_file(small, path, metadata={"card": json.dumps({**card, "digest": digest}, sort_keys=True)})
    return digest


def shipped_weights() -> list[str]:
    """Return the names of the weights that come with the package."""
    folder = resources.files("crossgeo.models.weights")
    return sorted(item.name.removesuffix(".safetensors") for item in folder.iterdir() if item.name.endswith(".safetensors"))


def find_weights(name_or_path: str | Path) -> Path:
    """Return the file of shipped weights by name, or of a path; raise WeightsError when there is none."""
    given = Path(name_or_path)
    if given.suffix == ".safetensors" or given.exists():
        if not given.is_file():
            raise WeightsError(f"{given}: no such weights file; give the path of a .safetensors file or one of: {', '.join(shipped_weights())}")
        return given
    if str(name_or_path) not in shipped_weights():
        raise WeightsError(f"no weights are called {name_or_path!r}; shipped are: {', '.join(shipped_weights()) or 'none'}; or give a .safetensors path")
    return Path(str(resources.files("crossgeo.models.weights") / f"{name_or_path}.safetensors"))


def read_card(name_or_path: str | Path) -> Card:
    """Read the card alone, without the tensors."""
    path = find_weights(name_or_path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error}); fetch or train the weights again") from error
    if "card" not in metadata:
        raise WeightsError(f"{path}: the file has no card, so nobody knows what model it is for; convert it with `geo weights import`")
    card = json.loads(metadata["card"])
    assert isinstance(card, dict)
    return card


def load_weights(name_or_path: str | Path) -> tuple[Card, dict[str, Tensor]]:
    """Read card and tensors (as stored); raise WeightsError when the file is damaged or its tensors do not match the card's digest."""
    path = find_weights(name_or_path)
    card = read_card(path)
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error}); fetch or train the weights again") from error
    digest = tensors_digest(state)
    if digest != card.get("digest"):
        raise WeightsError(f"{path}: its tensors have SHA-256 {digest[:12]}, its card says {str(card.get('digest'))[:12]}; the file is damaged, fetch it again")
    return card, state


def _fill(module: Module, name_or_path: str | Path, card: Card, state: dict[str, Tensor]) -> LoadedModel[Module]:
    expected = module.state_dict()
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    wrong = sorted(name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape)
    if missing or extra or wrong:
        raise WeightsError(f"{name_or_path}: the tensors do not fit {card['name']}: missing {missing[:3]}, extra {extra[:3]}, other shape {wrong[:3]}")
    module.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in state.items()})
    return LoadedModel(module.eval(), card, str(card["digest"]))


def _expect_kind(name_or_path: str | Path, card: Card, kind: str) -> None:
    if card.get("kind") != kind:
        raise WeightsError(f"{name_or_path}: these are weights of {card.get('kind')!r}, not of {kind!r}; choose others")


def load_egotr(name_or_path: str | Path = "egotr-s-drone") -> LoadedModel[EgoTR]:
    """Load both branches of EgoTR in float32, ready for inference."""
    card, state = load_weights(name_or_path)
    _expect_kind(name_or_path, card, "egotr")
    return _fill(EgoTR(EgoTRConfig.from_dict(card["config"])), name_or_path, card, state)


def load_attengeo(name_or_path: str | Path = "attengeo-s-drone") -> LoadedModel[AttenGeo]:
    """Load AttenGeo in float32, ready for inference."""
    card, state = load_weights(name_or_path)
    _expect_kind(name_or_path, card, "attengeo")
    return _fill(AttenGeo(AttenGeoConfig.from_dict(card["config"])), name_or_path, card, state)
