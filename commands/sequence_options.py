"""The options by which `geo batch` looks at photos of one drive together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossgeo.commands import console, outputs
from crossgeo.errors import UsageError

if TYPE_CHECKING:
    from crossgeo.engine.batch import Again
    from crossgeo.engine.sequences import SequenceOptions

PANEL = "Photos of one drive"
Record = dict[str, Any]


@dataclass(frozen=True)
class Driven:
    """What is made of photos that belong together, if anything."""

    sequence: Annotated[
        bool,
        typer.Option(
            "--sequence", help="Let photos of one drive (`group`, else folder) choose among their places together.", rich_help_panel=PANEL
        ),
    ] = False
    max_speed: Annotated[float, typer.Option(min=0.01, max=1000.0, help="Its greatest speed in m/s.", rich_help_panel=PANEL)] = 25.0
    max_step_m: Annotated[
        float,
        typer.Option(min=0.01, max=1e6, help="From photo to photo at most, where times are not known, in metres.", rich_help_panel=PANEL),
    ] = 50.0
    objects: Annotated[
        Path | None,
        typer.Option(
            help="File of the objects that the answers show, each once, with all photos of it; in a format of --output.",
            rich_help_panel=PANEL,
        ),
    ] = None

    def options(self, stdout: bool, overwrite: bool) -> SequenceOptions | None:
        """Return what drives may do, None where each photo stays by itself; raise UsageError for what does not fit together."""
        if self.objects is not None:
            from crossgeo.engine.output import check_output

            outputs.check_file(self.objects, "--objects")
            check_output(self.objects)
            if self.objects.exists() and not overwrite:
                raise UsageError(f"--objects {self.objects} exists already; choose another name, or replace it with --overwrite")
        if not self.sequence:
            return None
        if stdout:
            raise UsageError("--sequence looks at all photos of a drive before it answers, and `-o -` answers at once; give a file")
        from crossgeo.engine.sequences import SequenceOptions

        return SequenceOptions(self.max_speed, self.max_step_m)

    def write(self, records: Iterable[Record]) -> None:
        """Write the objects of finished answers, where they were asked for."""
        if self.objects is None:
            return
        from crossgeo.engine.output import write_objects
        from crossgeo.engine.sequences import merge_objects

        found = merge_objects(list(records))
        write_objects(self.objects, found)
        several = sum(len(thing["photos"]) > 1 for thing in found)
        console.say(f"{self.objects}: {len(found)} objects, {several} of them from several photos")


def smoothed(records: list[Record], options: SequenceOptions, again: Again) -> list[Record]:
    """Return the records of a batch as their drives have them, asking `again` for objects at other places, and say how many changed."""
    from crossgeo.engine.sequences import smooth, to_ask_again, with_objects

    out = smooth(records, options)
    out = with_objects(out, again(to_ask_again(records, out)))
    told = [record["sequence"] for record in out if "sequence" in record]
    drives = len({row["group"] for row in told})
    changed, placed = sum(row["changed"] for row in told), sum(row["rank"] is not None for row in told)
    console.say(f"{drives} drive{'s' * (drives != 1)}: {placed} of {len(told)} photos lie on the way, {changed} answers changed by it")
    return out
