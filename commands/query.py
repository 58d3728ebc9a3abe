"""`geo query`: one photo, one answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from crossgeo.commands import console, parse
from crossgeo.errors import NotLocatedError, UsageError

if TYPE_CHECKING:
    from crossgeo.engine.photo import Photo

Index = Annotated[Path, typer.Option(help="The index to search.", envvar="GEO_INDEX", show_envvar=True)]
Weights = Annotated[str, typer.Option(help="Place model: a name that `geo weights list` shows, or a file.")]
ObjectWeights = Annotated[str, typer.Option(help="Object model: a name that `geo weights list` shows, or a file.")]
Heading = Annotated[float | None, typer.Option("--heading", help="Where the photo's upper edge points, degrees clockwise from north.")]
Fov = Annotated[float | None, typer.Option("--fov", help="Horizontal field of view in degrees.")]
HeightM = Annotated[float | None, typer.Option(help="Height of the camera above ground in metres.")]
Near = Annotated[str | None, typer.Option(metavar="LAT,LON", help="Search only around this place; needs --radius-m.")]
RadiusM = Annotated[float | None, typer.Option(help="Radius of the search in metres, around --near or the EXIF position.")]
UseExif = Annotated[bool, typer.Option("--use-exif-position", help="Search only around the position in the photo's EXIF.")]
Top = Annotated[int, typer.Option(min=1, max=100, help="How many places to return at most.")]

SAYS = {
    "located": "located",
    "ambiguous": "ambiguous: several places fit about equally well",
    "low_confidence": "low confidence: the best place is not to be relied on",
    "outside_coverage": "outside coverage: nothing in this index looks like the photo",
}


def query(
    photo: Annotated[str, typer.Argument(help="JPEG, PNG, WebP or TIFF; `-` reads it from stdin.")],
    index: Index,
    point: Annotated[str | None, typer.Option(metavar="X,Y", help="Pixel of the object wanted, from the top left of the upright photo.")] = None,
    heading: Heading = None,
    fov: Fov = None,
    height_m: HeightM = None,
    near: Near = None,
    radius_m: RadiusM = None,
    use_exif_position: UseExif = False,
    top: Top = 5,
    weights: Weights = "egotr-s-drone",
    object_weights: ObjectWeights = "attengeo-s-drone",
    json: Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object.")] = False,
    save_plot: Annotated[Path | None, typer.Option(help="Save a picture: the photo, its place, the box, the rivals.")] = None,
    fail_on_miss: Annotated[bool, typer.Option("--fail-on-miss", help="End with code 10 unless the status is `located`.")] = False,
) -> None:
    """Find where a photo was taken, and the object at a point of it."""
    clicked, around = parse.point(point), parse.lat_lon(near)
    if save_plot is not None and save_plot.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--save-plot {save_plot}: give a name that ends in .png or .jpg")
    from crossgeo.engine.search import GeoSearch

    picture = _read(photo)
    with GeoSearch.open(index, weights=weights, object_weights=object_weights) as search:
        answer = search.query(
            picture, point=clicked, top=top, heading_deg=heading, fov_deg=fov, height_m=height_m, near=around, radius_m=radius_m,
            use_exif_position=use_exif_position,
        )  # fmt: skip
        if save_plot is not None:
            from crossgeo.engine.plot import save_plot as draw

            draw(save_plot, picture, answer, search.index, point=clicked)
    found = answer.to_json()
    if json:
        console.print_json(found)
    else:
        console.print_rows(describe(found, index))
    if save_plot is not None:
        console.say(f"picture: {save_plot}")
    if fail_on_miss and answer.status != "located":
        raise NotLocatedError(f"{picture.name}: {SAYS[answer.status]}")


def describe(answer: dict[str, Any], index: Path) -> list[tuple[str, str]]:
    """Return an answer's JSON as rows for people."""
    rows = [("photo", answer["photo"]), ("status", SAYS[answer["status"]])]
    for rank, place in enumerate(answer["places"], start=1):
        name = "place" if rank == 1 else f"rival {rank - 1}"
        rows.append(
            (name, f"{place['lat']:.7f}, {place['lon']:.7f}  within {place['radius_m']:g} m, heading {place['heading_deg']:.0f}°, score {place['score']:.3f}")
        )
    thing = answer["object"]
    if thing is not None:
        size = f"{thing['width_m']:.1f} m east-west, {thing['height_m']:.1f} m north-south"
        rows.append(("object", f"{thing['lat']:.7f}, {thing['lon']:.7f}  {size}, confidence {thing['confidence']:.2f}"))
    rows.append(("index", f"{index}, generation {answer['index']['generation']}, model {answer['index']['model']}"))
    rows.append(("took", ", ".join(f"{stage} {took:.0f} ms" for stage, took in answer["timings_ms"].items())))
    return rows


def _read(name: str) -> Photo:
    from crossgeo.engine.photo import Photo

    return Photo.read(sys.stdin.buffer.read(), name="stdin") if name == "-" else Photo.read(name)
