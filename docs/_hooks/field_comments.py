"""Shows the words beside a field in the code, `lat: float  # WGS 84 degrees`, as its docstring in the generated reference (griffe)."""

from __future__ import annotations

import io
import tokenize
from typing import Any

import griffe


class FieldComments(griffe.Extension):
    """Takes the comment at the end of an attribute's line for its docstring, where it has none."""

    def on_attribute(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Give an attribute its words."""
        if attr.docstring is None and attr.lineno is not None and (words := _comment(attr.source)):
            attr.docstring = griffe.Docstring(words[0].upper() + words[1:] + ".", lineno=attr.lineno, parent=attr)


def _comment(source: str) -> str:
    """Return the comments of some lines, without their signs."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, IndentationError):
        return ""
    words = (token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT)
    return " ".join(word for word in words if not word.startswith(("noqa", "fmt:", "type:")))
