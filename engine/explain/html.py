"""HTML put together so that nothing from outside can break out of it: text is escaped where it goes in, only `Markup` passes as it is."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

_VOID = frozenset({"br", "col", "img", "input", "link", "meta"})
# What HTML may not hold even escaped: control characters, and halves of characters, as names of files in another encoding have them.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


class Markup(str):
    """HTML that is right as it stands."""

    __slots__ = ()


Content = str | Iterable["Content"] | None
Value = str | float | bool | None


def escaped(text: str) -> Markup:
    """Return text as HTML that shows it, in elements and in quoted attributes alike; what HTML cannot hold becomes U+FFFD."""
    return Markup(html.escape(_UNFIT.sub("\ufffd", text), quote=True))


def joined(content: Content) -> Markup:
    """Return content as HTML: `Markup` as it is, other text escaped, None as nothing, and what is in lists one after the other."""
    if content is None:
        return Markup("")
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return escaped(content)
    return Markup("".join(joined(part) for part in content))


def tag(name: str, /, *content: Content, **attributes: Value) -> Markup:
    """Return an element. In names of attributes a trailing `_` is dropped and other `_` are hyphens; None and False leave one out."""
    told = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        word = key.rstrip("_").replace("_", "-")
        told += f" {word}" if value is True else f' {word}="{escaped(value if isinstance(value, str) else f"{value:g}")}"'
    opened = f"<{name}{told}>"
    return Markup(opened if name in _VOID else f"{opened}{joined(content)}</{name}>")


def name_of(text: str) -> Markup:
    """Return a name from outside, set apart so that letters that run from right to left turn nothing around it."""
    return tag("bdi", text)


def facts(rows: Iterable[tuple[Content, Content]], class_: str = "facts") -> Markup:
    """Return what is known as a list of names and values."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows], class_=class_)


def section(title: str, *content: Content, key: str) -> Markup:
    """Return a part of a page under a heading; `key` is its anchor."""
    return tag("section", tag("h2", title, id=key), *content, aria_labelledby=key)


def figure(picture: Content, *caption: Content, class_: str | None = None) -> Markup:
    """Return a picture with its caption."""
    return tag("figure", picture, tag("figcaption", *caption), class_=class_)


def scrolled(content: Content, says: str) -> Markup:
    """Return what may be wider than a small screen, to be moved about with the finger or with keys; `says` names it."""
    return tag("div", content, class_="scroll", tabindex="0", role="group", aria_label=says)


def many(count: int, name: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {name}{'' if count == 1 else 's'}"
