"""`geo serve`: the same questions over HTTP, and a map page to ask them from."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from crossgeo.commands import console
from crossgeo.commands.options import Models, spread
from crossgeo.commands.run_options import Running
from crossgeo.errors import InputError

SERVER = "Server"
NEEDED = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart", "prometheus_client": "prometheus-client"}
Host = Annotated[str, typer.Option(help="Address to listen at.", rich_help_panel=SERVER)]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.", rich_help_panel=SERVER)]


@spread
def serve(
    indexes: Annotated[list[Path], typer.Argument(metavar="INDEX...", help="Indexes to serve, each by its folder's name without .geo.")],
    models: Models,
    running: Running,
    host: Host = "127.0.0.1",
    port: Port = 8080,
) -> None:
    """Answer photos over HTTP, with a map page at /, until it is told to stop (Ctrl-C)."""
    missing = [package for module, package in NEEDED.items() if find_spec(module) is None]
    if missing:
        raise InputError(f"geo serve needs {', '.join(missing)}; install what it needs with: pip install 'crossgeo[serve]'")
    from crossgeo.web.served import Indexes, names_of
    from crossgeo.web.server import run
    from crossgeo.web.settings import Settings

    settings, runtime = Settings(), running.options(build=True)
    with Indexes(names_of(indexes), lambda path: models.open_at(path, runtime), None, settings.limits.waiting) as opened:
        console.say(f"http://{host}:{port}/")
        run(opened, settings, host, port)
