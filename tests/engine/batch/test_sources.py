"""Where photos come from: folders, patterns, files, lists, and lines as they come."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossgeo.engine.batch import items_from_lines, items_of
from crossgeo.errors import InputError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with photos (by name alone), in a folder and beside it."""
    (tmp_path / "drive" / "more").mkdir(parents=True)
    for name in ("drive/b.jpg", "drive/a.JPG", "drive/more/c.png", "drive/notes.txt", "d.jpg", "e[1].jpg"):
        (tmp_path / name).touch()
    (tmp_path / "drive" / "list.csv").write_text("photo\nb.jpg\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["drive"], ["a.JPG", "b.jpg", "more/c.png"]),
        (["drive/*.jpg"], ["drive/b.jpg"]),
        (["drive/**/*.[jp][pn]g"], ["drive/b.jpg", "drive/more/c.png"]),
        (["d.jpg"], ["d.jpg"]),
        (["e[1].jpg"], ["e[1].jpg"]),
        (["drive/list.csv"], ["b.jpg"]),
        (["d.jpg", "drive", "drive/list.csv", "drive/*.jpg"],
         ["d.jpg", "drive/a.JPG", "drive/b.jpg", "drive/more/c.png", "drive/b.jpg", "drive/b.jpg"]),
    ],
)  # fmt: skip
def test_photos_are_named_by_the_one_source_or_by_what_was_given(here: Path, sources: list[str], names: list[str]) -> None:
    items = items_of(sources)
    assert [item.name for item in items] == names
    assert all(item.path.is_file() for item in items)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere", "no such photo, folder or list"), ("nowhere/*.jpg", "nothing that matches"), ("drive/*.txt", "none of them is a photo"),
        ("none.csv", "no such list"), ("drive/notes.txt", "names no photo"),
    ],
)  # fmt: skip
def test_a_source_without_photos_says_so(here: Path, source: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        items_of([source])


def test_a_name_that_is_no_text_can_be_written(here: Path) -> None:
    os.rename(b"d.jpg", b"caf\xe9.jpg")  # noqa: PTH104  (Path takes no bytes)
    (item,) = items_of(["caf*"])
    assert item.name == "caf\\xe9.jpg"
    assert item.path.is_file()


def test_lines_become_items_as_they_come() -> None:
    more = threading.Event()

    def lines() -> Iterator[bytes]:
        yield b"a.jpg\n"
        yield b"\n"
        more.wait(10.0)
        yield b'{"photo": "b.jpg", "x": 1, "y": 2}\n'
        yield b'{"photo": 3}\n'
        yield b"caf\xe9.jpg"

    items = items_from_lines(lines())
    first = next(item for item in items if item is not None)
    assert first.name == "a.jpg"
    assert next(items) is None  # nothing has come, and nobody waits
    more.set()
    rest = []
    for item in items:
        if item is None:
            time.sleep(0.01)
        else:
            rest.append(item)
    assert [(item.name, item.points) for item in rest] == [("b.jpg", ((1.0, 2.0),)), ("stdin, line 4", ()), ("caf\\xe9.jpg", ())]
    assert rest[1].fault is not None
    assert os.fsencode(rest[2].path) == b"caf\xe9.jpg"


def test_an_error_of_the_stream_is_the_batch_s() -> None:
    def lines() -> Iterator[bytes]:
        yield b"a.jpg\n"
        raise OSError("the pipe broke")

    with pytest.raises(OSError, match="the pipe broke"):
        for _ in items_from_lines(lines()):
            time.sleep(0.01)
