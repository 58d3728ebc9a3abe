"""`geo town`: a simulated town whose every place is known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from crossgeo.commands import console, outputs

app = typer.Typer(no_args_is_help=True, help="Make simulated towns with known truth, to try things on.")


@app.command()
def make(
    out: Annotated[Path, typer.Option(help="Folder to make; it must not exist.")],
    seed: Annotated[int, typer.Option(min=0, help="Which town: the same seed gives the same town.")] = 1,
    size_m: Annotated[int, typer.Option(min=100, max=5000, help="Side of the square town in metres.")] = 600,
    photos: Annotated[int, typer.Option(min=0, max=10000, help="Drone photos to take over it.")] = 20,
    panoramas: Annotated[int, typer.Option(min=0, max=100000, help="Panoramas of 360 degrees to take in its streets.")] = 8,
    street: Annotated[int, typer.Option(min=0, max=100000, help="Ordinary photos to take in its streets.")] = 8,
    plain: Annotated[bool, typer.Option("--plain", help="Leave position, height, heading and tilt out of the photos.")] = False,
) -> None:
    """Write an orthophoto, drone and street photos with EXIF, and the truth of all: places, headings, boxes."""
    outputs.check_new(out, "--out")
    from crossgeo.town.write import write_town

    began = time.monotonic()
    with console.Stages() as stages:
        write_town(
            out,
            seed,
            size_m,
            photos,
            plain=plain,
            progress=lambda done, total: stages("making the town", done, total),
            panoramas=panoramas,
            street=street,
        )
    taken = f"{photos} drone photos, {panoramas} panoramas, {street} street photos"
    console.say(f"{out}: town {seed}, {size_m} m, {taken}, in {time.monotonic() - began:.1f} s")
