"""The frame of every page: one file with its style, readable without a script, that fetches nothing (its own policy forbids it)."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from crossgeo.engine.explain.html import Content, Markup, joined, tag


def opening(title: str, script: str = "") -> Markup:
    """Return a page up to the content of its body; `script` is the one that `closing` ends it with."""
    style = _style()
    allowed = f"script-src '{_hash(script)}'; " if script else ""
    policy = f"default-src 'none'; {allowed}style-src '{_hash(style)}'; img-src data:; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    return Markup(f'<!doctype html>\n<html lang="en">{head}<body>')


def closing(script: str = "") -> Markup:
    """Return the end of a page."""
    return Markup(f"{tag('script', Markup(script)) if script else ''}</body></html>\n")


def document(title: str, *content: Content) -> str:
    """Return a whole page without a script."""
    return f"{opening(title)}{joined(content)}{closing()}"


def script() -> str:
    """Return the report's script: sorting and filtering of its table."""
    return _read("report.js")


def _style() -> str:
    return _read("page.css")


def _read(name: str) -> str:
    return (resources.files("crossgeo.engine.explain") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
