"""The command `geo`: puts the commands of crossgeo.commands together; each parses, calls one function and prints."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from crossgeo import __version__
from crossgeo.commands import batch, calibrate, cluster, data, demo, doctor, engine, eval, exif, index, query, serve, town, train, weights
from crossgeo.commands.guard import GuardedGroup

ORDER = (
    "query",
    "batch",
    "serve",
    "exif",
    "index",
    "train",
    "calibrate",
    "eval",
    "data",
    "town",
    "demo",
    "doctor",
    "engine",
    "weights",
    "cluster",
)


class Geo(GuardedGroup):
    """The top command, its commands listed in the order people meet them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in that order."""
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = typer.Typer(
    name="geo",
    cls=Geo,
    help="Point at something in a photo; get its place on the map, in your own orthophoto. Offline, on your own machine.",
    epilog="Start with: geo demo.  Then: geo index build ortho.tif --out city.geo, and geo query photo.jpg --index city.geo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

LOCATE, PREPARE, LOOK = "Locate photos", "Prepare", "Look around"
app.command("query", rich_help_panel=LOCATE)(query.query)
app.command("batch", rich_help_panel=LOCATE)(batch.batch)
app.command("serve", rich_help_panel=LOCATE)(serve.serve)
app.add_typer(exif.app, name="exif", rich_help_panel=LOCATE)
app.add_typer(index.app, name="index", rich_help_panel=PREPARE)
app.add_typer(train.app, name="train", rich_help_panel=PREPARE)
app.command("calibrate", rich_help_panel=PREPARE)(calibrate.calibrate)
app.add_typer(eval.app, name="eval", rich_help_panel=PREPARE)
app.add_typer(data.app, name="data", rich_help_panel=PREPARE)
app.add_typer(town.app, name="town", rich_help_panel=PREPARE)
app.command("demo", rich_help_panel=LOOK)(demo.demo)
app.command("doctor", rich_help_panel=LOOK)(doctor.doctor)
app.add_typer(engine.app, name="engine", rich_help_panel=LOOK)
app.add_typer(weights.app, name="weights", rich_help_panel=LOOK)
app.add_typer(cluster.app, name="cluster", rich_help_panel=LOOK)


def _version(asked: bool) -> None:
    if asked:
        print(f"geo {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print a traceback with an error.")] = False,
) -> None:
    """Point at something in a photo; get its place on the map, in your own orthophoto. Offline, on your own machine."""


def wait_briefly() -> None:
    """Have the threads of torch, which is not loaded yet, sleep soon where they wait for each other, unless the user says how they wait.

    By default they spin, which on shared cores burns the time that the one waited for needs: a question of 21 s then took 357 s,
    and 67 s so, at no cost on idle cores.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def main() -> None:
    """Run the command line; every way out is an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be no valid text
    wait_briefly()
    cluster.know_clusters()
    app(prog_name="geo")
