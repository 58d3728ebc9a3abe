"""Both networks that find clicked objects, AttenGeo and DetGeo: their presets by name, and the network that a configuration is of."""

from __future__ import annotations

from typing import Any

from crossgeo.models import attengeo, detgeo
from crossgeo.models.attengeo import AttenGeo, AttenGeoConfig
from crossgeo.models.detgeo import DetGeo, DetGeoConfig
from crossgeo.models.object_network import ObjectConfig, ObjectNetwork


def object_presets() -> dict[str, ObjectConfig]:
    """Return the presets of both by name."""
    return {**attengeo.PRESETS, **detgeo.PRESETS}


def read_object_config(kind: str, values: dict[str, Any]) -> ObjectConfig:
    """Read the configuration in a card of a kind; KeyError, TypeError or ValueError where it is none."""
    return DetGeoConfig.from_dict(values) if kind == DetGeo.kind else AttenGeoConfig.from_dict(values)


def make_object_network(config: ObjectConfig) -> ObjectNetwork:
    """Make the network of a configuration, untrained; TypeError for a configuration of neither."""
    if isinstance(config, DetGeoConfig):
        return DetGeo(config)
    if isinstance(config, AttenGeoConfig):
        return AttenGeo(config)
    raise TypeError(f"{config.name} is a configuration of neither AttenGeo nor DetGeo")
