"""Who uses areas of a shelf: what is kept for others, for how long, and where nothing can be locked."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crossgeo import disk
from crossgeo.errors import LimitError
from crossgeo.indexer.shelf_use import SUPERSEDED_S, UNUSED_S, ShelfUse

Put = Callable[[str, float], None]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """How to put an area on the shelf that nobody has touched for so many seconds."""

    def make(name: str, idle_s: float) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        os.utime(tmp_path / name, (0, time.time() - idle_s))

    return make


def there(shelf: Path) -> set[str]:
    return {path.name for path in shelf.glob("a-*")}


def test_what_is_used_stays_and_what_was_goes_after_a_while(tmp_path: Path, put: Put) -> None:
    use = ShelfUse(tmp_path)
    for name in ("a-1", "a-2", "a-3", "a-4"):
        put(name, UNUSED_S + 60.0)
    for name in ("a-1", "a-2", "a-2", "a-3"):
        use.add(name)
    use.drop(["a-2", "a-3"], superseded=True)
    put("a-2", SUPERSEDED_S + 60.0)
    use.tidy()
    assert there(tmp_path) == {"a-1", "a-2", "a-3"}, "a-3 was used just now"
    put("a-3", SUPERSEDED_S + 60.0)
    use.drop(["a-1"], superseded=False)
    put("a-1", SUPERSEDED_S + 60.0)
    use.tidy()
    assert there(tmp_path) == {"a-1", "a-2"}, "a service that is stopped comes again"
    use.close()
    use.tidy()
    assert there(tmp_path) == {"a-1", "a-2"}


def test_what_another_service_uses_stays_as_long_as_it_lives(tmp_path: Path, put: Put) -> None:
    one, two = ShelfUse(tmp_path), ShelfUse(tmp_path)
    two.add("a-1")
    put("a-1", UNUSED_S + 60.0)
    one.tidy()
    assert there(tmp_path) == {"a-1"}
    assert two._handle is not None
    os.close(two._handle)  # as the system does when it is killed
    one.tidy()
    assert there(tmp_path) == set()
    assert [path.name for path in tmp_path.glob("u-*")] == [one._own.name]


def test_without_locks_nothing_is_removed(tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", none)
        use = ShelfUse(tmp_path)
    put("a-1", UNUSED_S + 60.0)
    use.add("a-2")
    use.tidy()
    assert there(tmp_path) == {"a-1"}
    use.close()


def test_who_cannot_say_what_it_uses_does_not_use_it(tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    use = ShelfUse(tmp_path)
    put("a-1", UNUSED_S + 60.0)

    def full(kind: str, path: Path, target: Path | None) -> None:
        if kind == "lock":
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(disk, "CALL", full)
        with pytest.raises(LimitError, match="No space left"):
            use.add("a-1")
    use.tidy()
    assert there(tmp_path) == set()
    use.close()
