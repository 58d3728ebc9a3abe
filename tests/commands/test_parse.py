"""Several numbers as people type them."""

import pytest

from crossgeo.commands import parse
from crossgeo.errors import UsageError


def test_a_point_is_two_numbers() -> None:
    assert parse.point("512,384.5") == (512.0, 384.5)
    assert parse.point(" 1 , 2 ") == (1.0, 2.0)
    assert parse.point(None) is None


@pytest.mark.parametrize("text", ["512", "512,384,1", "a,b", "", ",", "nan,1", "1,inf", "512;384"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="--point 512,384"):
        parse.point(text)


def test_a_place_is_latitude_first_and_on_the_earth() -> None:
    assert parse.lat_lon("-6.04,39.24") == (-6.04, 39.24)
    with pytest.raises(UsageError, match="latitude first"):
        parse.lat_lon("139.24,-6.04")
    with pytest.raises(UsageError, match="latitude first"):
        parse.lat_lon("6.04,181")


def test_an_area_is_west_south_east_north() -> None:
    assert parse.area("85.1,27.1,85.2,27.2", "--bounds") == (85.1, 27.1, 85.2, 27.2)


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "nan,nan,nan,nan", "3,2,1,4", "1,4,3,2", "1,2,1,4", "-200,2,3,4", "1,2,3,95", ""])
def test_what_is_no_area_is_refused_and_never_ignored(text: str) -> None:
    with pytest.raises(UsageError, match="--hold-out"):
        parse.area(text, "--hold-out")
