"""A replica that is closed or replaced while something else goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from crossgeo.engine.cluster import Actor
from crossgeo.engine.serving import replica
from crossgeo.engine.serving.replica import Replica
from crossgeo.errors import WorkerDiedError


class Told:
    """An actor that answers when it is told to."""

    node = "one"

    def __init__(self) -> None:
        self.calls: list[Future[Any]] = []
        self.closed = False

    def call(self, do: Callable[..., Any], *args: Any) -> Future[Any]:
        self.calls.append(Future())
        return self.calls[-1]

    def fail(self) -> None:
        """End the last call."""
        self.calls[-1].set_exception(WorkerDiedError("one: died before it answered"))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def failing_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "FAILING_S", 0.0)


@pytest.mark.usefixtures("failing_s")
def test_one_that_is_closed_while_it_is_replaced_ends_both_and_is_let_be() -> None:
    made: list[Told] = []

    def start(own: Replica) -> Actor:
        made.append(Told())
        if len(made) == 2:
            own.close()
        return made[-1]

    one = Replica(start)
    one.mind()
    made[0].fail()
    one.mind()
    assert [actor.closed for actor in made] == [True, True]
    for _ in range(3):
        one.mind()
    assert len(made) == 2
    assert [len(actor.calls) for actor in made] == [1, 0]


@pytest.mark.usefixtures("failing_s")
def test_what_was_asked_of_the_one_before_is_no_load() -> None:
    made: list[Told] = []

    def start(own: Replica) -> Actor:
        made.append(Told())
        return made[-1]

    one = Replica(start)
    before = one.call(abs, 1)
    one.mind()
    made[0].fail()
    one.mind()
    assert one.actor is made[1]
    one.call(abs, 1)
    assert one.load == 1
    before.cancel()
    assert one.load == 1
