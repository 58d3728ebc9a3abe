"""The one place where an error becomes a line on stderr and an exit code (docs/cli.md lists the codes)."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from crossgeo.errors import GeoError, of_user

INTERRUPTED = 130
READER_LEFT = 141  # what a shell gives a program that SIGPIPE ended


class GuardedGroup(TyperGroup):
    """The top command: runs the one asked for and turns whatever it raises into an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; raise only typer's own exceptions, which carry the exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except (KeyboardInterrupt, Exception) as error:
            raise typer.Exit(report(error, debug=bool(ctx.params.get("debug")))) from error
        return result


def report(error: BaseException, debug: bool = False) -> int:
    """Say on stderr in one line what went wrong (with a traceback if `debug`) and return the exit code."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter complains when it closes stdout
        return READER_LEFT
    if debug:
        traceback.print_exception(error)
    message, code = explain(error)
    print(f"geo: {' '.join(message.split())}", file=sys.stderr)
    return code


def explain(error: BaseException) -> tuple[str, int]:
    """Return the message and the exit code of whatever a command raised."""
    if (ours := of_user(error)) is not None:
        return str(ours), ours.exit_code
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "interrupted; what was finished is kept, and the same command goes on from there", INTERRUPTED
    where = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(where[-1].filename).name}:{where[-1].lineno})" if where else ""
    return (
        f"this is a bug: {type(error).__name__}: {error}{place}; please report it with what the same command prints as `geo --debug ...`",
        GeoError.exit_code,
    )
