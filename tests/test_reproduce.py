"""docs/reproduce.md: every published figure that our presets can give stands there, with commands that this program takes."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from crossgeo.cli import app
from crossgeo.models.attengeo import PRESETS as ATTENGEO
from crossgeo.models.detgeo import PRESETS as DETGEO
from crossgeo.models.egotr import PRESETS as EGOTR
from crossgeo.training.datasets.layouts import LAYOUTS
from crossgeo.training.datasets.published import BOXES, RETRIEVAL

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "reproduce.md").read_text()
COMMANDS = [line for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
OURS = ("EgoTR", "Polar-EgoTR", "few-shot", "AttenGeo", "DetGeo")


def rows() -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_one_that_this_program_takes(line: str) -> None:
    words = shlex.split(line)
    command: Any = get_command(app)
    assert words.pop(0) == "geo"
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    given = command.make_parser(_context(command)).parse_args(words)[0]
    assert given.get("preset") in (None, *EGOTR, *ATTENGEO, *DETGEO)
    assert given.get("layout") in (None, *LAYOUTS)


def _context(command: Any) -> Any:
    return command.context_class(command)


def test_every_published_recall_of_our_models_stands_with_its_preset() -> None:
    published = [line for line in RETRIEVAL if line.method.split(",")[0] in OURS]
    assert len(published) == 14
    for line in published:
        (row,) = (
            r
            for r in rows()
            if r[0] == line.method
            and line.layout.upper() in r[1].split(", ")[-1 if line.split == "val" else 0]
            and (line.split == "test") == ("test" in r[1])
        )
        assert row[3:] == ["" if value is None else f"{value:.2f}" for value in line.recalls], line
        preset, *more = row[2].strip("`").split()
        assert preset in EGOTR and more[::2] in ([], ["--share"])


def test_every_published_box_of_our_models_stands_with_its_preset() -> None:
    columns = {"cvogl-street": 2, "cvogl-drone": 3, "g2d": 4}
    published = [line for line in BOXES if line.method.split()[0] in OURS]
    assert len(published) == 21
    for line in published:
        figures = "{:.2f} / {:.2f}".format(*line.accu)
        if line.split == "val":
            assert figures in PAGE, line
            continue
        (row,) = (r for r in rows() if r[0] == line.method and len(r) == 5)
        assert row[columns[line.layout]] == figures, line
        assert row[1].strip("`") in (*ATTENGEO, *DETGEO)
