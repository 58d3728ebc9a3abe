"""`geo train`: both models, on drone views rendered from orthophotos, on data sets of pairs, and on a city's own photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from crossgeo.commands.options import spread
from crossgeo.commands.train_options import MACHINE, SOURCE, Run
from crossgeo.errors import UsageError


class EgoTRUnlessNamed(TyperGroup):
    """A group whose options without a command are those of `egotr`: `geo train --imagery ortho.tif --photos dir/`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command's name in where it is left out."""
        if args and args[0].startswith("--") and args[0] != "--help":
            args = ["egotr", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=EgoTRUnlessNamed, no_args_is_help=True, help="Train the models: on your imagery, on a data set of pairs, on your city's photos."
)

StartFrom = Annotated[
    str | None,
    typer.Option(
        help='Weights to start from: a name that `geo weights list` shows, or a .safetensors file; "" for none.', rich_help_panel=SOURCE
    ),
]


@app.command("egotr")
@spread
def egotr(
    run: Run,
    photos: Annotated[
        Path | None,
        typer.Option(
            help="Folder of photos with position and heading, in their EXIF or a truth.geojson there: fine-tune on them.",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    start_from: StartFrom = None,
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute", help="Compute the layers again in the backward pass: a third more work, less memory.", rich_help_panel=MACHINE
        ),
    ] = False,
) -> None:
    """Train the model that finds the place of a photo."""
    run.check()
    if photos is not None and (run.data is not None or run.recipe is not None or run.hold_out):
        raise UsageError("--photos goes with imagery alone: without --data, --recipe and --hold-out; it holds blocks out by itself")
    if photos is not None and run.preset is not None:
        raise UsageError("--photos fine-tunes weights; leave --preset out, and choose them with --start-from")
    run.check_start(start_from)
    from crossgeo.commands import train_egotr
    from crossgeo.commands.train_shared import together

    with together():
        if photos is not None:
            train_egotr.on_photos(run, photos, start_from, recompute)
        elif run.data is not None:
            train_egotr.on_pairs(run, start_from, recompute)
        else:
            train_egotr.on_imagery(run, run.shipped("egotr-s-drone") if start_from is None else start_from, recompute)


@app.command("attengeo")
@spread
def attengeo(
    run: Run,
    outlines: Annotated[
        list[Path] | None,
        typer.Option(help="Building outlines on the imagery as GeoJSON (lon, lat); may be repeated.", rich_help_panel=SOURCE),
    ] = None,
    start_from: StartFrom = None,
) -> None:
    """Train the model that finds the clicked object in the imagery: AttenGeo, or DetGeo where --preset or --start-from names one."""
    run.check()
    if bool(outlines) == bool(run.data):
        raise UsageError("--outlines says what can be clicked on imagery; give both, or a data set with --data alone")
    run.check_start(start_from)
    from crossgeo.commands import train_attengeo
    from crossgeo.commands.train_shared import together

    with together():
        if run.data is not None:
            train_attengeo.on_pairs(run, start_from)
        else:
            train_attengeo.on_imagery(run, outlines or [], run.shipped("attengeo-s-drone") if start_from is None else start_from)
