"""Which halves there are of weights, by name: what `geo engine` builds."""

from __future__ import annotations

from pathlib import Path

from crossgeo.engine.describe import drone_halves, load_drone, street_halves
from crossgeo.engine.runtime.half import Half
from crossgeo.engine.runtime.halves import object_halves
from crossgeo.errors import MismatchError
from crossgeo.models.checkpoint import load_object_network, load_street_branch, read_card
from crossgeo.models.street_view import StreetView


def halves_of(name_or_path: str | Path) -> list[Half]:
    """Return the halves of weights in float32.

    Raises WeightsError for weights that are missing or damaged, MismatchError for those that no index goes with.
    """
    card = read_card(name_or_path)
    kind, view = card["kind"], card["view"].get("kind", "drone")
    if kind == "egotr":
        model, drone = load_drone(str(name_or_path))
        return drone_halves(model, drone)
    if kind == "egotr-street":
        if view != "street":
            raise MismatchError(f"{card['name']} has a {view} view, and questions are asked with a street view; choose other weights")
        branch = load_street_branch(name_or_path)
        return street_halves(branch, StreetView.from_dict(branch.card["view"]))
    network = load_object_network(name_or_path)
    return object_halves(network.module, network.identity)
