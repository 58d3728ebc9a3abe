"""What a run of EgoTR starts from, weights or a preset, and the weights that it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from crossgeo.engine.status import Thresholds
from crossgeo.errors import UsageError, WeightsError
from crossgeo.models.checkpoint import load_egotr, load_street_branch, read_card, save_weights
from crossgeo.models.egotr import PRESETS, EgoTR, EgoTRConfig
from crossgeo.models.panorama import PanoramaView
from crossgeo.models.published import timm_hybrid
from crossgeo.models.published.timm_hybrid import egotr_from_timm
from crossgeo.models.resnetv2 import STYLES
from crossgeo.models.street_view import StreetView
from crossgeo.models.views import DroneView
from crossgeo.training.datasets.university1652 import LAYOUTS as UNIVERSITY1652
from crossgeo.training.pair_input import View

AS_TAKEN = frozenset(UNIVERSITY1652.values())  # layouts that say nothing of headings or scales: photos fill a drone view as they are
STREET_KIND = "egotr-street"


@dataclass(frozen=True)
class Start:
    """Configuration, view and tensors; `aerial` names the weights whose aerial branch a street branch goes with."""

    config: EgoTRConfig
    view: View
    state: dict[str, Tensor] | None = None
    card: dict[str, Any] = field(default_factory=dict)
    aerial: dict[str, str] | None = None

    def for_street(self) -> Start:
        """Return the same weights reading photos from the street, their aerial branch to be left as it is; UsageError for panoramas."""
        if isinstance(self.view, PanoramaView) or self.state is None:
            raise UsageError("photos and imagery fine-tune weights of a drone or street view; give others with --start-from")
        aerial = self.aerial or {"name": str(self.card["name"]), "sha256": str(self.card["digest"])}
        return replace(self, view=_on_the_street(self.view), aerial=aerial)

    def for_pairs(self, layout: str) -> Start:
        """Return the same weights with the view for a layout's photos; UsageError for other views than a drone's where it needs one."""
        if layout in AS_TAKEN and not isinstance(self.view, DroneView):
            raise UsageError(
                "imagery is seen from above and University-1652 names no headings; give weights of a drone view, or --preset egotr-s"
            )
        if layout in AS_TAKEN or isinstance(self.view, PanoramaView):
            return self
        return replace(self, view=_on_the_street(self.view))

    @property
    def thresholds(self) -> dict[str, Any] | None:
        """Thresholds for what is trained from here: marked as not calibrated, and no laxer than those before or the defaults.

        They were measured on scores of other weights, and to believe too little is the safer mistake. None where there were none.
        """
        if "thresholds" not in self.card:
            return None
        before, least = asdict(Thresholds.from_card(self.card)), asdict(Thresholds())
        strictest = {name: max(value, least[name]) for name, value in before.items()}
        return {**strictest, "calibrated": False, "taken_from": self.card["thresholds"].get("taken_from", self.card["name"])}

    def save(self, path: Path, model: EgoTR, about: dict[str, Any]) -> str:
        """Write the trained weights, of the ground branch alone where the aerial one was left; return their digest."""
        kind = "egotr" if self.aerial is None else STREET_KIND
        card = {"name": about["name"], "kind": kind, "config": self.config.to_dict(), "view": self.view.to_dict(), **about}
        if self.aerial is not None:
            card["aerial"] = self.aerial
        if self.thresholds is not None:
            card["thresholds"] = self.thresholds
        return save_weights(path, (model if self.aerial is None else model.ground).state_dict(), card)


def start_from(weights: str) -> Start:
    """Read weights of any view by shipped name or path; WeightsError where they or the aerial branch they go with are not there."""
    card = read_card(weights)
    if card["kind"] != STREET_KIND:
        model = load_egotr(weights)
        return Start(model.module.config, _view_of(card["view"]), dict(model.module.state_dict()), card)
    street = load_street_branch(weights)
    aerial = dict(card["aerial"])
    partner = load_egotr(aerial["name"])
    if partner.sha256 != aerial.get("sha256"):
        raise WeightsError(f"{weights}: goes with other weights than the {aerial['name']} found here; take both from one source")
    state = {f"ground.{name}": tensor for name, tensor in street.module.state_dict().items()}
    state |= {f"aerial.{name}": tensor for name, tensor in partner.module.aerial.state_dict().items()}
    return Start(EgoTRConfig.from_dict(card["config"]), StreetView.from_dict(card["view"]), state, card, aerial)


def start_fresh(preset: str, layout: str, imagenet: Mapping[str, Tensor] | None = None) -> Start:
    """Return a preset and the view for a layout's photos; without weights, or with those of timm's hybrid for a preset of the paper.

    Raises UsageError for a name that is no preset and for ImageNet weights that it does not take, WeightsError for tensors that do not fit.
    """
    if preset not in PRESETS:
        raise UsageError(f"{preset!r} is no preset of EgoTR; choose from {', '.join(PRESETS)}")
    config = PRESETS[preset]
    if config.stem in STYLES:  # the papers' sizes
        view = PanoramaView.of(config)
        if imagenet is None:
            return Start(config, view).for_pairs(layout)
        config, state = egotr_from_timm(imagenet, config)
        about = {"name": "ImageNet-21k (timm vit_base_r50_s16_224)"}
        return Start(config, replace(view, mean=timm_hybrid.MEAN, std=timm_hybrid.STD), state, about).for_pairs(layout)
    if imagenet is not None:
        raise UsageError(f"{preset} takes its ImageNet stem from `pip install crossgeo[train]`; leave --imagenet out")
    return Start(config, DroneView()).for_pairs(layout)


def _view_of(values: dict[str, Any]) -> View:
    """Read the view of a card; a drone's where it names no kind."""
    if values.get("kind") == "panorama":
        return PanoramaView.from_dict(values)
    return StreetView.from_dict(values) if values.get("kind") == "street" else DroneView.from_dict(values)


def _on_the_street(view: DroneView | StreetView) -> StreetView:
    return StreetView(view.size_px, view.extent_m, view.mean, view.std)
