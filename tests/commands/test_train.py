"""`geo train` refuses what is no area before it reads imagery."""

import pytest

from crossgeo.commands.train_options import boxes
from crossgeo.errors import UsageError


def test_held_out_ground_is_west_south_east_north() -> None:
    assert boxes(["85.1,27.1,85.2,27.2", "1,2,3,4"]) == [(85.1, 27.1, 85.2, 27.2), (1.0, 2.0, 3.0, 4.0)]
    assert boxes(None) == []


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "nan,nan,nan,nan", "3,2,1,4", "1,4,3,2", "1,2,1,4", "-200,2,3,4", "1,2,3,95", ""])
def test_what_is_no_area_is_refused_and_never_ignored(text: str) -> None:
    with pytest.raises(UsageError, match="--hold-out"):
        boxes([text])
