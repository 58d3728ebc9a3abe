"""The options by which `geo query` and `geo batch` write what they found into the photos' metadata."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from crossgeo.errors import UsageError

if TYPE_CHECKING:
    from crossgeo.engine.geotag import ExifOptions

PANEL = "The photos' metadata"


class Where(StrEnum):
    """Where answers are written."""

    sidecar = "sidecar"
    inplace = "inplace"


Unsure = Annotated[bool, typer.Option("--exif-unsure", help="Write answers that are not `located`, too.", rich_help_panel=PANEL)]
Over = Annotated[bool, typer.Option("--exif-overwrite", help="Write over a position that a photo has already.", rich_help_panel=PANEL)]


@dataclass(frozen=True)
class Exifs:
    """What is written into photos, if anything."""

    write_exif: Annotated[
        Where | None,
        typer.Option(
            help="Write position, heading and radius beside each photo (PHOTO.xmp) or into it (JPEG); `geo exif undo` takes them out.",
            rich_help_panel=PANEL,
        ),
    ] = None
    exif_unsure: Unsure = False
    exif_overwrite: Over = False

    def options(self) -> ExifOptions | None:
        """Return it as the engine takes it, None where nothing is to be written; raise UsageError for what does not fit together."""
        if self.write_exif is None:
            if self.exif_unsure or self.exif_overwrite:
                raise UsageError("--exif-unsure and --exif-overwrite say how answers are written; ask for that with --write-exif")
            return None
        return exif_options(self.write_exif, self.exif_unsure, self.exif_overwrite)


def exif_options(where: Where, unsure: bool, overwrite: bool) -> ExifOptions:
    """Return options of a command line as the engine takes them."""
    from crossgeo.engine.geotag import ExifOptions

    return ExifOptions("inplace" if where is Where.inplace else "sidecar", unsure, overwrite)
