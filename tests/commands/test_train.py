"""`geo train` refuses what is no area before it reads imagery, and counts the epochs of all processes together."""

from pathlib import Path
from typing import Any

import pytest

from crossgeo.commands import train_egotr, train_shared
from crossgeo.commands.train_options import Run
from crossgeo.errors import UsageError


def test_held_out_ground_is_west_south_east_north(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("crossgeo.training.ground_sources.load_grounds", lambda imagery, outlines, held_out: seen.append(held_out))
    for hold_out in (["85.1,27.1,85.2,27.2", "1,2,3,4"], None):
        Run(Path("run"), hold_out=hold_out).grounds()
    assert seen == [[(85.1, 27.1, 85.2, 27.2), (1.0, 2.0, 3.0, 4.0)], []]


@pytest.mark.parametrize("text", ["1,2,3", "nan,nan,nan,nan", "3,2,1,4", ""])
def test_what_is_no_area_is_refused_before_imagery_is_read(text: str) -> None:
    with pytest.raises(UsageError, match="--hold-out"):
        Run(Path("run"), orthophotos=[Path("not there.tif")], hold_out=[text]).grounds()


@pytest.mark.parametrize(("ranks", "steps"), [(1, 9), (2, 4), (4, 2), (32, 1)])
def test_an_epoch_is_shorter_where_several_processes_share_it(ranks: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Source:
        epoch_steps = 9

    monkeypatch.setattr("crossgeo.training.distributed.ranks", lambda: ranks)
    source: Any = Source()
    assert train_shared.steps_of(source) == steps


def test_photos_left_out_are_counted_by_reason_whatever_place_or_name_it_says() -> None:
    left_out = [
        ("a.jpg", "no position in its EXIF"),
        ("b.jpg", "taken at 27.63, 85.5, where there is no imagery"),
        ("c.jpg", "repeats a.jpg"),
    ]
    left_out.append(("d.jpg", "taken at 27.64, 85.6, where there is no imagery"))
    first, second, third = train_egotr._by_reason(left_out)
    assert first == "left out 2, like b.jpg: taken at 27.63, 85.5, where there is no imagery"
    assert (second, third) == ("left out 1, like a.jpg: no position in its EXIF", "left out 1, like c.jpg: repeats a.jpg")
