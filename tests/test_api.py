"""The names of `crossgeo` itself: there they are, lazily, typed, with words and examples that run."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import crossgeo

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ast.parse((ROOT / "__init__.py").read_text())
NAMES = crossgeo.__all__


def in_a_process_of_its_own(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_there_are_ten_names_each_once() -> None:
    assert len(set(NAMES)) == len(NAMES) == 10


def test_every_name_is_listed_and_known_before_anything_is_loaded() -> None:
    code = "import sys, crossgeo; print(set(crossgeo.__all__) <= set(dir(crossgeo)), [n for n in ('torch', 'numpy') if n in sys.modules])"
    assert in_a_process_of_its_own(code) == "True []"


def test_a_star_gives_these_names_and_no_other() -> None:
    space: dict[str, object] = {}
    exec("from crossgeo import *", space)
    assert space.keys() - {"__builtins__"} == set(NAMES)


def test_type_checkers_see_each_name_where_it_is_loaded_from() -> None:
    seen = {
        alias.name: node.module
        for block in SOURCE.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen.keys() == set(NAMES)
    for name, module in seen.items():
        __import__(str(module))
        assert getattr(crossgeo, name) is getattr(sys.modules[str(module)], name)


def test_a_name_that_there_is_not_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'crossgeo' has no attribute 'query'"):
        getattr(crossgeo, "query")  # noqa: B009  (mypy knows that there is none)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_says_what_it_is_with_an_example(name: str) -> None:
    thing = getattr(crossgeo, name)
    text = inspect.getdoc(thing)
    assert text and len(text) > 200
    assert "```python" in text
    if inspect.isfunction(thing):
        assert "Raises" in text


def public(thing: type) -> list[tuple[str, object]]:
    """What a class offers under names of its own."""
    return [(name, value) for name, value in vars(thing).items() if not name.startswith("_")]


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isclass(getattr(crossgeo, name))])
def test_what_a_class_offers_is_explained(name: str) -> None:
    thing = getattr(crossgeo, name)
    fields = {field.name for field in dataclasses.fields(thing)} if dataclasses.is_dataclass(thing) else set()
    for own, value in public(thing):
        if callable(value) or isinstance(value, (property, classmethod, staticmethod)):
            assert inspect.getdoc(getattr(thing, own)), f"{name}.{own}"
    lines = inspect.getsource(thing).splitlines()
    for field in fields:
        assert any(re.match(rf"    {field}: .*  # \S", line) for line in lines), f"{name}.{field} has no words beside it"
