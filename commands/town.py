"""`geo town`: a simulated town whose every place is known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from crossgeo.commands import console, outputs, parse
from crossgeo.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Make simulated towns with known truth, to try things on.")


@app.command()
def make(
    out: Annotated[Path, typer.Option(help="Folder to make; it must not exist.")],
    seed: Annotated[int, typer.Option(min=0, help="Which town: the same seed gives the same town.")] = 1,
    size_m: Annotated[int, typer.Option(min=100, max=5000, help="Side of the square town in metres.")] = 600,
    photos: Annotated[int | None, typer.Option(min=0, max=10000, help="Drone photos: 20, and none over real ground.")] = None,
    panoramas: Annotated[int, typer.Option(min=0, max=100000, help="Panoramas of 360 degrees to take in its streets.")] = 8,
    street: Annotated[int, typer.Option(min=0, max=100000, help="Ordinary photos to take in its streets.")] = 8,
    dense: Annotated[
        int, typer.Option(min=0, max=100000, help="Panoramas every 5 m along the streets of one corner: the test of CVACT's layout.")
    ] = 0,
    ortho: Annotated[list[Path] | None, typer.Option(help="Real imagery as the ground, in place of a made town; may be repeated.")] = None,
    footprints: Annotated[Path | None, typer.Option(help="Buildings over --ortho: GeoJSON polygons.")] = None,
    bounds: Annotated[str | None, typer.Option(help="Part of --ortho to use: west,south,east,north in degrees.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Leave position, height, heading and tilt out of the photos.")] = False,
) -> None:
    """Write an orthophoto, drone and street photos with EXIF, and the truth of all: places, headings, boxes."""
    outputs.check_new(out, "--out")
    began = time.monotonic()
    if ortho or footprints or bounds:
        _over_real_ground(out, ortho, footprints, bounds, seed, photos, panoramas, street, dense, plain)
        console.say(f"{out}: {panoramas} panoramas, {street} street photos over real ground, in {time.monotonic() - began:.1f} s")
        return
    from crossgeo.town.write import write_town

    photos = 20 if photos is None else photos
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
            dense=dense,
        )
    taken = f"{photos} drone photos, {panoramas} panoramas, {street} street photos" + (f", {dense} panoramas every 5 m" if dense else "")
    console.say(f"{out}: town {seed}, {size_m} m, {taken}, in {time.monotonic() - began:.1f} s")


def _over_real_ground(
    out: Path,
    ortho: list[Path] | None,
    footprints: Path | None,
    bounds: str | None,
    seed: int,
    photos: int | None,
    panoramas: int,
    street: int,
    dense: int,
    plain: bool,
) -> None:
    if not ortho or footprints is None:
        raise UsageError("street photos over real ground need --ortho and --footprints; leave all three out to make a town")
    if photos:
        raise UsageError("no drone photos are taken over real ground; leave --photos out, or out --ortho")
    if dense:
        raise UsageError("nothing says where the streets of real ground run; leave --dense out, or out --ortho")
    box = None if bounds is None else parse.area(bounds, "--bounds")
    from crossgeo.town.real_write import write_real_town

    with console.Stages() as stages:
        write_real_town(
            out,
            ortho,
            footprints,
            box,
            seed,
            panoramas,
            street,
            plain=plain,
            progress=lambda done, total: stages("taking photos", done, total),
        )
