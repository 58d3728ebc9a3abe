"""How widely photos of each kind are searched."""

from __future__ import annotations

from dataclasses import dataclass, field

from crossgeo.engine.agreement import AgreementSettings
from crossgeo.engine.map_search import MapSearchSettings
from crossgeo.engine.matcher import MatchSettings
from crossgeo.engine.poses import PoseSettings, StreetPoseSettings
from crossgeo.engine.registration import RegistrationSettings
from crossgeo.engine.surfaces import Overlap


def _street_settings() -> MatchSettings:
    """Places come from the map search to within a cell of 6 m, turns to within half the step at which they are tried."""
    # The rim of the imagery fits by chance what it shares with a photo, so little overlap is worth little.
    rim = Overlap(power=0.75)
    close = RegistrationSettings(16, (-5.0, 0.0, 5.0), (0.8, 1.0, 1.25), overlap=rim)
    settling = RegistrationSettings(16, (-2.5, 0.0, 2.5), (0.9, 1.0, 1.11), (-1.2, 0.0, 1.2), rim)
    return MatchSettings(
        maps=MapSearchSettings(overlap=rim), parts=None, clicks_register=False, registration=close, settling=settling,
        agreement=AgreementSettings(overlap_power=rim.power), fine_rivals=2,
    )  # fmt: skip


@dataclass(frozen=True)
class SearchSettings:
    """Which poses are tried of each kind of photo, and how wide its search is cast."""

    poses: PoseSettings = field(default_factory=PoseSettings)
    drone: MatchSettings = field(default_factory=MatchSettings)
    street_poses: StreetPoseSettings = field(default_factory=StreetPoseSettings)
    street: MatchSettings = field(default_factory=_street_settings)
