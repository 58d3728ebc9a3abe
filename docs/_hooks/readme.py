"""Puts what the README alone says on a page of the site (a hook of mkdocs), in the place of `<!-- README: NAME -->`.

The README has it between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig


def on_page_markdown(markdown: str, *, config: MkDocsConfig, **_: Any) -> str:
    """Return a page with those parts of the README, their links made from docs/."""
    text = (Path(config.config_file_path).parent / "README.md").read_text(encoding="utf-8")

    def part(found: re.Match[str]) -> str:
        name = found[1]
        return text.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0].replace("](docs/", "](")

    return re.sub(r"<!-- README: (\w+) -->", part, markdown)
