"""`geo train` refuses what is no area before it reads imagery, and counts the epochs of all processes together."""

from typing import Any

import pytest

from crossgeo.commands import train_jobs
from crossgeo.commands.train_options import boxes
from crossgeo.errors import UsageError


def test_held_out_ground_is_west_south_east_north() -> None:
    assert boxes(["85.1,27.1,85.2,27.2", "1,2,3,4"]) == [(85.1, 27.1, 85.2, 27.2), (1.0, 2.0, 3.0, 4.0)]
    assert boxes(None) == []


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "nan,nan,nan,nan", "3,2,1,4", "1,4,3,2", "1,2,1,4", "-200,2,3,4", "1,2,3,95", ""])
def test_what_is_no_area_is_refused_and_never_ignored(text: str) -> None:
    with pytest.raises(UsageError, match="--hold-out"):
        boxes([text])


@pytest.mark.parametrize(("ranks", "steps"), [(1, 9), (2, 4), (4, 2), (32, 1)])
def test_an_epoch_is_shorter_where_several_processes_share_it(ranks: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Source:
        epoch_steps = 9

    monkeypatch.setattr("crossgeo.training.distributed.ranks", lambda: ranks)
    source: Any = Source()
    assert train_jobs._steps_of(source) == steps
