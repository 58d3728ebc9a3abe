"""One name for another by the first rule that fits it."""

from __future__ import annotations

import re
from collections.abc import Iterable


def by_rules(rules: Iterable[tuple[str, str]], name: str) -> str | None:
    """Return what the first pattern that matches all of `name` makes of it; None where none does."""
    for pattern, made in rules:
        if match := re.fullmatch(pattern, name):
            return match.expand(made)
    return None
