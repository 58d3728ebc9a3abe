"""Every command is explained: in its help and in docs/cli.md."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from crossgeo.cli import app
from crossgeo.errors import GeoError

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "cli.md").read_text()


def commands(command: Any, name: str = "geo") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    if hasattr(command, "commands"):
        for word, child in command.commands.items():
            yield from commands(child, f"{name} {word}")
    else:
        yield name, command


ALL = dict(commands(get_command(app)))


def section(name: str) -> str:
    """What docs/cli.md says under a command's heading."""
    found = re.search(rf"^## {name}\b.*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no section `## {name}`"
    return found[0]


@pytest.mark.parametrize("name", ALL)
def test_a_command_is_documented_with_all_its_options(name: str) -> None:
    text = section(name)
    for parameter in ALL[name].params:
        flags = [flag for flag in parameter.opts if flag.startswith("--") and flag != "--help"]
        assert not flags or any(f"`{flag}" in text for flag in flags), f"docs/cli.md, {name}: {flags} is missing"


@pytest.mark.parametrize("name", ALL)
def test_a_command_and_its_options_say_what_they_do(name: str) -> None:
    assert ALL[name].help
    assert all(parameter.help for parameter in ALL[name].params), name


def test_the_page_documents_no_command_that_is_gone() -> None:
    assert set(re.findall(r"^## (geo(?: [a-z]+)+)", PAGE, re.MULTILINE)) == set(ALL)


def test_every_exit_code_is_on_the_page() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert listed == {0, 1, 130, 141} | {cls.exit_code for cls in GeoError.__subclasses__()}
