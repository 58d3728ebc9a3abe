"""What several commands of `geo index` ask alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from crossgeo.indexer.region import Region

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", envvar="GEO_INDEX", help="The index.")]
Keep = Annotated[int, typer.Option(min=0, help="How many generations before the new one stay, to go back to.")]


@dataclass(frozen=True)
class About:
    """What is said of imagery that is built or added."""

    vintage: Annotated[str | None, typer.Option(help="When the imagery was taken: a year, a month or a day, like 2023-06.")] = None
    licence: Annotated[str | None, typer.Option(help="The licence of the imagery, in your words.")] = None
    mask: Annotated[list[Path] | None, typer.Option(help="GeoJSON polygons of ground that is not to be indexed.")] = None
    keep: Keep = 1

    def masks(self) -> tuple[Region, ...]:
        """Read the polygons; raise InputError, naming the file, where there are none."""
        from crossgeo.indexer.region import Region

        return tuple(Region.read(path) for path in self.mask or ())
