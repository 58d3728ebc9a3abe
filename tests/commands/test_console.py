"""Progress and results go where they belong."""

import io
import json

import pytest

from crossgeo.commands import console


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_off_a_terminal_progress_is_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    monkeypatch.setattr(console.time, "monotonic", clock)
    with console.Progress("describing", "tiles") as progress:
        for done in range(0, 101):
            progress(done, 200)
            clock.now += 0.25
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "describing: 40 of 200 tiles, 4.0 tiles/s, 40 s left",
        "describing: 80 of 200 tiles, 4.0 tiles/s, 30 s left",
    ]


def test_what_was_done_before_does_not_count_for_the_rate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    monkeypatch.setattr(console.time, "monotonic", clock)
    with console.Progress("describing", "tiles") as progress:
        progress(1000, 1100)
        clock.now = 10.0
        progress(1010, 1100)
    assert capsys.readouterr().err == "describing: 1010 of 1100 tiles, 1.0 tiles/s, 90 s left\n"


def test_no_rate_is_made_up_from_a_first_slow_item(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    monkeypatch.setattr(console.time, "monotonic", clock)
    with console.Progress("locating", "photos") as progress:
        clock.now = 12.0
        progress(1, 5)
    assert capsys.readouterr().err == "locating: 1 of 5 photos\n"


def test_on_a_terminal_progress_is_a_bar_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with console.Progress("describing", "tiles") as progress:
        progress(5, 10)
        progress(10, 10)
    assert "describing" in terminal.getvalue()


def test_off_a_terminal_each_stage_is_said_when_it_begins(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    monkeypatch.setattr(console.time, "monotonic", clock)
    with console.Stages() as stages:
        stages("making the town", 0, 12)
        stages("making the town", 12, 12)
        stages("locating photos", 0, 12)
        clock.now = 20.0
        stages("locating photos", 4, 12)
    assert capsys.readouterr().err.splitlines() == [
        "making the town: 12 photos",
        "locating: 12 photos",
        "locating: 4 of 12 photos, 5.0 s each, 40 s left",
    ]


def test_json_is_one_line_and_refuses_what_is_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"photo": "Straße.jpg", "n": [1, 2]})
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert json.loads(said) == {"photo": "Straße.jpg", "n": [1, 2]}
    with pytest.raises(ValueError, match="JSON"):
        console.print_json(float("nan"))


def test_rows_print_brackets_and_long_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_rows([("photo", "[red]a[/red].jpg"), ("place", "1, 2")])
    assert capsys.readouterr().out == "photo  [red]a[/red].jpg\nplace  1, 2\n"
