"""`geo weights`: the model weights that came with the package, and what their cards say."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from crossgeo.commands import console

app = typer.Typer(no_args_is_help=True, help="List and read model weights.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

