"""One small town for all tests of the room: 160 m, laid out once."""

import pytest

from crossgeo.town.layout import Town, make_town


@pytest.fixture(scope="session")
def town() -> Town:
    return make_town(3, 160.0)
