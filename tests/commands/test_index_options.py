"""commands/index_options.py: what a search may cost, as people write it."""

import math

import pytest

from crossgeo.commands.index_options import Searching
from crossgeo.errors import UsageError


@pytest.mark.parametrize(("said", "size_bytes"), [("8GB", 8e9), ("512 MB", 512e6), ("4GiB", 2.0**32), ("1.5g", 1.5e9), ("100", 100.0)])
def test_sizes_are_read_as_people_write_them(said: str, size_bytes: float) -> None:
    assert Searching(max_memory=said).budget().max_memory_bytes == size_bytes


def test_without_a_size_memory_has_no_limit() -> None:
    assert Searching().budget().max_memory_bytes == math.inf


@pytest.mark.parametrize("said", ["huge", "", "8XB", "-1GB", "0GB", "1e9"])
def test_what_is_no_size_is_refused(said: str) -> None:
    with pytest.raises(UsageError, match=r"max-memory|the most memory"):
        Searching(max_memory=said).budget()
