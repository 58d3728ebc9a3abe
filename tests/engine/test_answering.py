"""Many questions at once: each gets the answer that it gets alone, waits its turn or is refused, and none is lost."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from crossgeo.engine.answering import Answering
from crossgeo.engine.camera import Kind
from crossgeo.engine.place import Answer
from crossgeo.engine.question import BatchOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import LimitError, UsageError
from crossgeo.geodesy import to_lat_lon

WAIT_S = 300.0
X, Y = 363_150.0, 3_057_450.0
Asked = tuple[Any, BatchOptions]


@pytest.fixture
def impatient() -> Iterator[None]:
    """Threads that change places a hundred times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(usual)


def told(answer: Answer) -> str:
    """The JSON of an answer without what it took."""
    return json.dumps(answer.to_json() | {"timings_ms": None}) + repr(answer.places)


def questions(search: GeoSearch, ground: Any, kinds: Sequence[Kind]) -> list[Asked]:
    """Photos in parts of the ground and everywhere, so that what threads share is what they disturb."""
    around = to_lat_lon(search.index.segments[0].crs, X + 30.0, Y)
    out = []
    for number, kind in enumerate(kinds):
        photo = ground.photo(X - 40.0 + 10.0 * number, Y + 5.0 * number, 40.0 * number, 95.0)
        near, radius_m = (around, 60.0 + 10.0 * number) if number % 2 else (None, None)
        up_m = 2.1 if kind == "street" else 95.0 / 2.0 / float(np.tan(np.radians(35.0)))
        out.append((photo, BatchOptions(3, 40.0 * number, 70.0, up_m, near, radius_m, kind=kind)))
    return out


def both_ways(search: GeoSearch, asked: Sequence[Asked], order: Sequence[int]) -> tuple[list[str], list[str]]:
    """What is answered one after the other, and from eight threads by a search that has kept nothing yet."""
    alone = [told(search.query(photo, **asdict(options))) for photo, options in asked]
    assert len(set(alone)) == len(alone)
    with search.renewed() as fresh, Answering(fresh, workers=8) as many:
        futures = [many.submit(asked[n][0], options=asked[n][1]) for n in order]
        found = [told(future.result(WAIT_S)) for future in futures]
        stats = many.stats()
    count = len(order)
    assert (stats.workers, stats.asked, stats.answered, stats.failed, stats.waiting, stats.busy) == (8, count, count, 0, 0, 0)
    assert stats.stages_ms["total"] > 0.0 and stats.worked_s > 0.0
    return [alone[n] for n in order], found


def test_answers_of_eight_threads_are_those_of_one_to_the_last_digit(search: GeoSearch, ground: Any, impatient: None) -> None:
    asked = questions(search, ground, ["drone"] * 8)
    alone, found = both_ways(search, asked, [*range(0, 8, 2), *range(1, 8, 2), *range(8)])
    assert found == alone


def test_so_are_those_of_photos_that_are_registered_and_searched_by_maps(street_search: GeoSearch, ground: Any, impatient: None) -> None:
    alone, found = both_ways(street_search, questions(street_search, ground, ["drone", "street", "drone"]), [0, 2, 1, 1])
    assert found == alone


def test_an_error_is_raised_by_the_question_that_made_it_alone(search: GeoSearch, ground: Any) -> None:
    photo = ground.photo(X, Y, 30.0, 95.0)
    with Answering(search, workers=2) as answering:
        bad, good = answering.submit(photo, point=(500.0, 1.0)), answering.submit(photo)
        with pytest.raises(UsageError, match="outside the photo"):
            bad.result(WAIT_S)
        assert good.result(WAIT_S).places
        stats = answering.stats()
    assert (stats.answered, stats.failed) == (1, 1)


class Held:
    """A question that a worker is busy with until it is let go."""

    def __init__(self) -> None:
        self.begun, self.free = threading.Event(), threading.Event()

    def __call__(self, search: GeoSearch) -> int:
        self.begun.set()
        assert self.free.wait(WAIT_S)
        return len(search.index)


def test_more_than_may_wait_are_refused_and_those_that_are_cancelled_make_room(search: GeoSearch) -> None:
    held = Held()
    with Answering(search, workers=1, max_waiting=2) as answering:
        busy = answering.run(held)
        assert held.begun.wait(WAIT_S)
        waiting = [answering.run(lambda search: search.index.generation) for _ in range(2)]
        with pytest.raises(LimitError, match="2 questions are waiting"):
            answering.run(held)
        stats = answering.stats()
        assert (stats.busy, stats.waiting, stats.refused) == (1, 2, 1)
        assert waiting[0].cancel()
        assert answering.run(held).cancel()
        held.free.set()
        assert (busy.result(WAIT_S), waiting[1].result(WAIT_S)) == (len(search.index), search.index.generation)
    assert (answering.stats().cancelled, answering.stats().waiting, answering.stats().answered) == (2, 0, 2)
    assert answering.stats().waited_s > 0.0


@pytest.mark.parametrize("drain", [True, False])
def test_closing_answers_or_cancels_what_waits_and_always_what_is_begun(search: GeoSearch, drain: bool) -> None:
    held = Held()
    answering = Answering(search, workers=1)
    busy = answering.run(held)
    assert held.begun.wait(WAIT_S)
    waiting = answering.run(lambda search: len(search.index))
    with ThreadPoolExecutor(1) as other:
        closing = other.submit(answering.close, drain)
        while not answering.stats().cancelled and not drain:
            pass
        held.free.set()
        closing.result(WAIT_S)
    assert busy.result(0) == len(search.index)
    if drain:
        assert waiting.result(0) == len(search.index)
    else:
        with pytest.raises(CancelledError):
            waiting.result(0)
    with pytest.raises(LimitError, match="shut down"):
        answering.run(held)


def test_sizes_that_make_no_sense_are_refused(search: GeoSearch) -> None:
    for wrong in ({"workers": 0}, {"max_waiting": 0}):
        with pytest.raises(ValueError, match="at least"):
            Answering(search, **wrong)
