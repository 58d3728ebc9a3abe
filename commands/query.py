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

CAMERA, WHERE, MODELS, OUTPUT = "What is known of the camera (else EXIF, else unknown)", "Where to look", "Models", "Output"

Index = Annotated[Path, typer.Option(help="The index to search.", envvar="GEO_INDEX", show_envvar=True)]
Point = Annotated[str | None, typer.Option(metavar="X,Y", help="Pixel of the object wanted, from the top left of the upright photo.")]
Top = Annotated[int, typer.Option(min=1, max=100, help="How many places to return at most.")]
Heading = Annotated[
    float | None, typer.Option("--heading", help="Where its upper edge points, degrees clockwise from north.", rich_help_panel=CAMERA)
]
Fov = Annotated[float | None, typer.Option("--fov", help="Horizontal field of view in degrees.", rich_help_panel=CAMERA)]
HeightM = Annotated[float | None, typer.Option(help="Height above ground in metres.", rich_help_panel=CAMERA)]
Tilt = Annotated[float | None, typer.Option("--tilt", help="Tilt from straight down, in degrees.", rich_help_panel=CAMERA)]
Near = Annotated[str | None, typer.Option(metavar="LAT,LON", help="Search only around this place.", rich_help_panel=WHERE)]
RadiusM = Annotated[float | None, typer.Option(help="How far around it, in metres (250 unless told).", rich_help_panel=WHERE)]
UseExif = Annotated[
    bool, typer.Option("--use-exif-position", help="Search only around the position in the photo's EXIF.", rich_help_panel=WHERE)
]
Weights = Annotated[str, typer.Option(help="Place model: a name that `geo weights list` shows, or a file.", rich_help_panel=MODELS)]
ObjectWeights = Annotated[str, typer.Option(help="Object model: likewise.", rich_help_panel=MODELS)]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object.", rich_help_panel=OUTPUT)]
SavePlot = Annotated[Path | None, typer.Option(help="Save a picture: the photo, its place, the box, the rivals.", rich_help_panel=OUTPUT)]
FailOnMiss = Annotated[
    bool, typer.Option("--fail-on-miss", help="End with code 10 unless the status is `located`.", rich_help_panel=OUTPUT)
]

SAYS = {
    "located": "located",
    "ambiguous": "ambiguous: several places fit about equally well",
    "low_confidence": "low confidence: the best place is not to be relied on",
    "outside_coverage": "outside coverage: nothing in this index looks like the photo",
}


def query(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="JPEG, PNG, WebP or TIFF; `-` reads it from stdin.")],
    index: Index,
    point: Point = None,
    top: Top = 5,
    heading: Heading = None,
    fov: Fov = None,
    height_m: HeightM = None,
    tilt: Tilt = None,
    near: Near = None,
    radius_m: RadiusM = None,
    use_exif_position: UseExif = False,
    json: Json = False,
    save_plot: SavePlot = None,
    fail_on_miss: FailOnMiss = False,
    weights: Weights = "egotr-s-drone",
    object_weights: ObjectWeights = "attengeo-s-drone",
) -> None:
    """Find where a photo was taken, and the object at a point of it."""
    clicked, around = parse.point(point), parse.lat_lon(near)
    if save_plot is not None and save_plot.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--save-plot {save_plot}: give a name that ends in .png or .jpg")
    from crossgeo.engine.search import GeoSearch

    picture = _read(photo)
    with GeoSearch.open(index, weights=weights, object_weights=object_weights) as search:
        answer = search.query(
            picture, point=clicked, top=top, heading_deg=heading, fov_deg=fov, height_m=height_m, tilt_deg=tilt, near=around,
            radius_m=radius_m, use_exif_position=use_exif_position,
        )  # fmt: skip
        if save_plot is not None:
            from crossgeo.engine.plot import save_plot as draw

            draw(save_plot, picture, answer, search.index, point=clicked)
    found = answer.to_json()
    if json:
        console.print_json(found)
    else:
        console.print_rows(describe(found, index, clicked is not None))
    if save_plot is not None:
        console.say(f"picture: {save_plot}")
    if fail_on_miss and answer.status != "located":
        raise NotLocatedError(f"{picture.name}: {SAYS[answer.status]}")


def describe(answer: dict[str, Any], index: Path, clicked: bool) -> list[tuple[str, str]]:
    """Return an answer's JSON as rows for people."""
    rows = [("photo", answer["photo"]), ("status", SAYS[answer["status"]])]
    for rank, place in enumerate(answer["places"], start=1):
        quality = f"within {place['radius_m']:g} m, heading {place['heading_deg']:.0f}°, score {place['score']:.3f}"
        rows.append(("place" if rank == 1 else f"rival {rank - 1}", f"{place['lat']:.7f}, {place['lon']:.7f}  {quality}"))
    thing = answer["object"]
    if thing is not None:
        size = f"{thing['width_m']:.1f} m east-west, {thing['height_m']:.1f} m north-south"
        rows.append(("object", f"{thing['lat']:.7f}, {thing['lon']:.7f}  {size}, confidence {thing['confidence']:.2f}"))
    elif clicked:
        rows.append(("object", "not looked for: the place is too uncertain"))
    rows.append(("index", f"{index}, generation {answer['index']['generation']}, model {answer['index']['model']}"))
    rows.append(("took", ", ".join(f"{stage} {took:.0f} ms" for stage, took in answer["timings_ms"].items())))
    return rows


def _read(name: str) -> Photo:
    from crossgeo.engine.photo import Photo

    return Photo.read(sys.stdin.buffer.read(), name="stdin") if name == "-" else Photo.read(name)
