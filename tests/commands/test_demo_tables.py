"""The demo's tables show each photo and set the trials side by side."""

from pathlib import Path

from rich.console import Console

from crossgeo.commands import demo
from crossgeo.demo import Outcome, Trial

TOWN = (Outcome("a.jpg", "located", 1.25, 3.0, 0.71, 800.0), Outcome("b.jpg", "low_confidence", None, None, 0.0, 900.0))
REAL = (Outcome("DJI_0018.jpg", "located", 6_767_890.3, None, None, 1200.0),)
TRIALS = [
    Trial("town 9001 (simulated)", True, Path("a.geo"), 1200, 14.0, TOWN, None),
    Trial("Brighton Beach (real)", False, Path("b.geo"), 9000, 110.0, REAL, None),
]


def shown(what: object) -> list[list[str]]:
    """The rows of a table as words between wide gaps."""
    console = Console(width=100)
    with console.capture() as capture:
        console.print(what)
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in capture.get().splitlines()]


def test_a_photo_without_a_place_shows_dashes() -> None:
    rows = shown(demo._photos(TRIALS[0]))
    assert ["a.jpg", "located", "1.2 m", "3.0", "0.71", "800"] in rows
    assert ["b.jpg", "low_confidence", "-", "-", "0.00", "900"] in rows


def test_the_summary_counts_over_all_photos() -> None:
    rows = shown(demo._summary(TRIALS))
    assert ["median distance from the truth", "1.2 m", "6,768 km"] in rows
    assert ["photos located within 5 m", "1 of 2", "0 of 1"] in rows
    assert ["clicked objects with a right box (IoU 0.5)", "1 of 2", "-"] in rows
    assert ["tiles in the index", "1200", "9000"] in rows
