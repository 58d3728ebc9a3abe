"""`geo query`: one photo, one answer."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossgeo.commands import console, outputs, parse
from crossgeo.commands.exif_options import Exifs
from crossgeo.commands.options import Asked, spread
from crossgeo.commands.repeat import command_line
from crossgeo.commands.run_options import Running
from crossgeo.engine.words import STATUS_WORDS, no_object
from crossgeo.errors import NotLocatedError, UsageError

if TYPE_CHECKING:
    from crossgeo.engine.photo import Photo

OUTPUT = "Output"
WRITTEN = {"written": "position, heading and radius written", "same": "holds this answer already"}
Point = Annotated[str | None, typer.Option(metavar="X,Y", help="Pixel of the object wanted, from the top left of the upright photo.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object.", rich_help_panel=OUTPUT)]
SavePlot = Annotated[Path | None, typer.Option(help="Save a picture: the photo, its place, the box, the rivals.", rich_help_panel=OUTPUT)]
Explain = Annotated[Path | None, typer.Option(help="Save a page (.html) that shows how the answer came about.", rich_help_panel=OUTPUT)]
FailOnMiss = Annotated[
    bool, typer.Option("--fail-on-miss", help="End with code 10 unless the status is `located`.", rich_help_panel=OUTPUT)
]


@spread
def query(
    context: typer.Context,
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="JPEG, PNG, WebP or TIFF; `-` reads it from stdin.")],
    asked: Asked,
    running: Running,
    exifs: Exifs,
    point: Point = None,
    json: Json = False,
    save_plot: SavePlot = None,
    explain: Explain = None,
    fail_on_miss: FailOnMiss = False,
) -> None:
    """Find where a photo was taken, and the object at a point of it."""
    clicked, options, writing = parse.point(point), asked.options(), exifs.options()
    if writing is not None and photo == "-":
        raise UsageError("--write-exif writes beside or into a file, and this photo comes from stdin; give its path")
    if save_plot is not None:
        if save_plot.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise UsageError(f"--save-plot {save_plot}: give a name that ends in .png or .jpg")
        outputs.check_file(save_plot, "--save-plot")
        if photo != "-" and save_plot.resolve() == Path(photo).resolve():
            raise UsageError(f"--save-plot {save_plot} is the photo itself; give another name")
    if explain is not None:
        outputs.check_page(explain, "--explain")
    picture = _read(photo)
    if clicked is not None:
        picture.check_point(clicked)
    with asked.open(running.options(build=False)) as search:
        from crossgeo.engine.notes import FOV_GUESSED
        from crossgeo.engine.trace import Trace

        trace = None if explain is None else Trace()
        answer = search.query(picture, point=clicked, **asdict(options), trace=trace)
        found = answer.to_json()
        for note in answer.notes:
            console.say(f"{picture.name}: {note}{'; give it with --fov' if note == FOV_GUESSED else ''}")
        if json:
            console.print_json(found)
        else:
            console.print_rows(describe(found, asked.index, clicked is not None, asked.anyway))
        if save_plot is not None:
            from crossgeo.engine.plot import save_plot as draw

            draw(save_plot, picture, answer, search.index, point=clicked)
            console.say(f"picture: {save_plot}")
        if explain is not None and trace is not None:
            from crossgeo.engine.explain import explained, save_page

            save_page(explain, explained(search, picture, clicked, options, answer, trace), command_line(context))
            console.say(f"page: {explain}")
        asked.say_trouble(search)
    if writing is not None:
        from crossgeo.engine.geotag import write_exif

        written = write_exif(Path(photo), found, writing)
        console.say(f"{written.target if written.reason is None else photo}: {written.reason or WRITTEN[written.state]}")
    if fail_on_miss and answer.status != "located":
        raise NotLocatedError(f"{picture.name}: {STATUS_WORDS[answer.status]}")


def describe(answer: dict[str, Any], index: Path, clicked: bool, anyway: bool = False) -> list[tuple[str, str]]:
    """Return an answer's JSON as rows for people; `clicked` and `anyway` say what was asked."""
    rows = [("photo", answer["photo"]), ("status", STATUS_WORDS[answer["status"]])]
    for rank, place in enumerate(answer["places"], start=1):
        quality = f"within {place['radius_m']:g} m, heading {place['heading_deg']:.0f}°, score {place['score']:.3f}"
        rows.append(("place" if rank == 1 else f"rival {rank - 1}", f"{place['lat']:.7f}, {place['lon']:.7f}  {quality}"))
    thing = answer["object"]
    if thing is not None:
        size = f"{thing['width_m']:.1f} m east-west, {thing['height_m']:.1f} m north-south"
        rows.append(("object", f"{thing['lat']:.7f}, {thing['lon']:.7f}  {size}, confidence {thing['confidence']:.2f}"))
    elif clicked:
        rows.append(("object", no_object(answer["status"], bool(answer["places"]), anyway)))
    rows.append(("index", f"{index}, generation {answer['index']['generation']}, model {answer['index']['model']}"))
    rows.append(("took", ", ".join(f"{stage} {took:.0f} ms" for stage, took in answer["timings_ms"].items())))
    return rows


def _read(name: str) -> Photo:
    from crossgeo.engine.photo import Photo

    return Photo.read(sys.stdin.buffer.read(), name="stdin") if name == "-" else Photo.read(name)
