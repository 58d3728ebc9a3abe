"""The command line that asks the same again, from what this one was given."""

from __future__ import annotations

import shlex
from typing import Any

import typer


def command_line(context: typer.Context) -> str:
    """Return the command of a context with all that was given on its line or in the environment, quoted for a shell."""
    words = context.command_path.split()
    last: list[str] = []
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source is None or source.name not in ("COMMANDLINE", "ENVIRONMENT"):
            continue
        value: Any = context.params.get(str(parameter.name))
        if parameter.param_type_name == "argument":
            last += _words(value)
        elif isinstance(value, bool):
            words += (parameter.opts if value else parameter.secondary_opts)[:1]
        elif value is not None:
            given = value if isinstance(value, list) else [value]
            for one in given:
                words += [parameter.opts[0], *_words(one)]
    guard = ["--"] if any(word.startswith("-") and word != "-" for word in last) else []
    return shlex.join([*words, *guard, *last])


def _words(value: Any) -> list[str]:
    """One value as words: a tuple is several, an enumeration's is its value."""
    several = value if isinstance(value, tuple | list) else (value,)
    return [str(getattr(one, "value", one)) for one in several]
