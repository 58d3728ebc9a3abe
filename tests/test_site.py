"""The docs as a site: it builds without a warning, asks nothing of other hosts, and its commands are commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from crossgeo.cli import app

ROOT = Path(__file__).resolve().parents[1]
HOWTOS = [ROOT / "docs" / "index.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
ELSEWHERE = r"""(?:src|href|url|import)\s*[=(]?\s*["'(]?\s*(?:https?:)?//[^\s"')>]+"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(ROOT / "mkdocs.yml"), "--site-dir", str(out)]
    env = os.environ | {"NOTEBOOKS": str(out / "none"), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, env=env, cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def test_every_page_is_built_and_none_loads_anything_from_another_host(site: Path) -> None:
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]
    assert len(pages) == len([*(ROOT / "docs").rglob("*.md"), *NOTEBOOKS])
    for page in pages:
        loaded = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page.read_text())
        assert [tag for tag in loaded if re.search(ELSEWHERE, tag) and 'rel="canonical"' not in tag] == []
    assert [style for style in site.rglob("*.css") if re.search(r"url\(\s*[\"']?(?:https?:)?//", style.read_text())] == []


def test_the_reference_has_every_name_with_the_words_beside_its_fields(site: Path) -> None:
    import crossgeo

    text = (site / "reference" / "python.html").read_text()
    assert [name for name in crossgeo.__all__ if f'id="crossgeo.{name}"' not in text] == []
    words = "Nine of ten true places lie within it where there is a probability, else two of three."
    assert words in text  # of Place.radius_m, a comment in the code


def test_the_search_can_be_read_from_a_folder(site: Path) -> None:
    text = (site / "search" / "search_index.js").read_text()
    found = json.loads(text.removeprefix("var __index = "))["docs"]
    assert any("rollback" in entry["text"] and entry["location"].startswith("cli.html") for entry in found)
    assert "iframe-worker" in (site / "index.html").read_text()


def commands(page: Path) -> list[list[str]]:
    """The words of each command line of ours on a page."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("geo ")]


@pytest.mark.parametrize("page", HOWTOS, ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_taken_as_they_stand(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEO_INDEX", "city.geo")
    assert page.stem == "index" or commands(page)
    for words in commands(page):
        command: Any = get_command(app)
        name, rest = "geo", words[1:]
        while hasattr(command, "commands") and rest and rest[0] in command.commands:
            command, name, rest = command.commands[rest[0]], f"{name} {rest[0]}", rest[1:]
        if name != "geo":  # else options of `geo` itself
            assert not hasattr(command, "commands") or command.invoke_without_command, f"{' '.join(words)}: no such command"
            with command.make_context(name, list(rest)):
                pass


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_what_it_printed(notebook: Path) -> None:
    cells = json.loads(notebook.read_text())["cells"]
    assert cells[0]["cell_type"] == "markdown" and cells[0]["source"][0].startswith("# ")
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
