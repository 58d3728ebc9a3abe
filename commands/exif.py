"""`geo exif`: answers written into the metadata of photos, and taken out again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossgeo.commands import console
from crossgeo.commands.exif_options import Over, Unsure, Where, exif_options
from crossgeo.commands.guard import GuardedGroup
from crossgeo.errors import GeoError, InputError, PartialError

app = typer.Typer(cls=GuardedGroup, help="Write answers into the metadata of photos, and take them out again.", no_args_is_help=True)


@app.command("write")
def write(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="File of answers that `geo batch` wrote: .jsonl or .geojson.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder that its photos are named from.")],
    write_exif: Annotated[Where, typer.Option(help="Beside each photo (PHOTO.xmp), or into it (JPEG).")] = Where.sidecar,
    exif_unsure: Unsure = False,
    exif_overwrite: Over = False,
) -> None:
    """Write the answers of a batch into its photos, once they have been looked at."""
    from crossgeo.engine.geotag import read_results, write_all

    answered = read_results(results, folder)
    with console.Progress("writing", "photos") as shown:
        done = iter(range(1, len(answered) + 1))
        tally = write_all(answered, exif_options(write_exif, exif_unsure, exif_overwrite), lambda _: shown(next(done), len(answered)))
    say_tally(tally.failures, tally.words)


@app.command("undo")
def undo(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Photos, or folders of photos.")],
) -> None:
    """Give photos back the bytes that they had, and remove the sidecars that were written."""
    from crossgeo.engine.geotag import undo_exif
    from crossgeo.engine.photo import SUFFIXES

    paths = []
    for named in photos:
        below = sorted(path for path in named.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        paths += below if named.is_dir() else [named]
    if not paths:
        raise InputError(f"{photos[0]}: holds no photo; photos end in {', '.join(SUFFIXES)}")
    restored, failures = 0, []
    for path in paths:
        try:
            restored += bool(undo_exif(path))
        except GeoError as error:
            failures.append(str(error))
    if len(paths) == 1 and failures:
        raise InputError(failures[0])
    say_tally(failures, f"{restored} of {len(paths)} photos restored" + ("" if restored else "; nothing was written into them"))


def say_tally(failures: list[str], words: str) -> None:
    """Say what became of many photos; raise PartialError where some failed."""
    for line in failures:
        console.say(line)
    if failures:
        raise PartialError(f"{len(failures)} photos could not be changed and were left as they are; {words}")
    console.say(words)
