"""What answering many at once brings: answers a second of N clients against one question at a time, beside the ceiling of the machine.

python benchmarks/answering.py [--clients N] [--photos N] [--rounds N] [--size-m M] [--runtime NAME] [--unknown] [--work DIR]

A town that no weights were trained on is made and indexed, as query.py does, and the same photos are asked about in every way, the ways in
turn within each round: by `GeoSearch.query` one after the other with all processors, through `Answering` one after the other, by half the
clients and by all of them, each of which asks again as soon as it is answered. The ceiling are as many processes as there are processors,
each asking by itself in one thread: what the processors can give to questions that share nothing. Two virtual processors may be one core,
and other programs run beside, so what counts are the ratios within a round; the answers of all ways are compared, too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any

from common import record, spread
from query import Asked, asked, town_index

from crossgeo.demo import town_questions
from crossgeo.engine.answering import Answering
from crossgeo.engine.place import Answer
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.threads import computing_with
from crossgeo.processor import processors

CEILING, DIRECT, ONE, HALF, ALL = "ceiling", "query, one at a time", "answering, one at a time", "half the clients", "all clients"


def main() -> None:
    """Measure all and write it down."""
    args = parsed()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=args.work) as made:
        folder = Path(made)
        index, tiles = town_index(folder, args.size_m, args.photos)
        questions = [asked(question, known=not args.unknown) for question in town_questions(folder / "town")]
        options = RuntimeOptions(args.runtime, build=True)
        with GeoSearch.open(index, street_weights=None, runtime=options) as search, Alone(index, questions, args.runtime) as ceiling:
            rounds = [one_round(search, questions, ceiling, args.clients, number) for number in range(args.rounds + 1)][
                1:
            ]  # the first warms
            label = search.matchers["drone"].describer.tiles_run_on
    ways = [CEILING, DIRECT, ONE, HALF, ALL]
    rates = {way: [one[way]["a_second"] for one in rounds] for way in ways}
    record(
        "answering",
        {
            "simulated": f"drone photos of a town of {args.size_m} m, held out by its seed",
            "camera": "unknown" if args.unknown else "known but for its heading",
            "runtime": label,
            "clients": args.clients,
            "processors": processors(),
            "load_before": round(load, 2),
            "tiles": tiles,
            "photos": len(questions),
            "rounds": args.rounds,
            "answers_a_second": {way: spread(rates[way]) for way in ways},
            "cpu_seconds_an_answer": {way: spread([one[way]["cpu_s"] for one in rounds]) for way in ways if way != CEILING},
            "all_clients_to": {way: spread([a / b for a, b in zip(rates[ALL], rates[way], strict=True)]) for way in ways if way != ALL},
            "latency_s": {way: {name: spread([one[way][name] for one in rounds]) for name in ("p50", "p99")} for way in (ONE, HALF, ALL)},
            "p99_of_all_to_p50_of_half": spread([one[ALL]["p99"] / one[HALF]["p50"] for one in rounds]),
            "answers_equal": all(one["equal"] for one in rounds),
        },
    )


def one_round(search: GeoSearch, questions: Sequence[Asked], ceiling: Alone, clients: int, number: int) -> dict[str, Any]:
    """Ask in every way, beginning with another one each round."""
    said: dict[str, list[str]] = {}

    def direct() -> list[tuple[str, float]]:
        return [timed(lambda one=one: search.query(one[0], **one[1])) for one in questions]

    def through(how_many: int, every: Sequence[Asked]) -> list[tuple[str, float]]:
        with Answering(search, max_waiting=how_many + 1) as answering, ThreadPoolExecutor(how_many) as threads:
            return list(threads.map(lambda one: timed(lambda: answering.run(lambda at: at.query(one[0], **one[1])).result()), every))

    many = [questions[n % len(questions)] for n in range(max(2 * clients, len(questions)))]
    asks: dict[str, Callable[[], list[tuple[str, float]]]] = {
        DIRECT: direct,
        ONE: lambda: through(1, questions),
        HALF: lambda: through(max(1, clients // 2), many),
        ALL: lambda: through(clients, many),
    }
    found: dict[str, Any] = {}
    names = [CEILING, *asks]
    for name in names[number % len(names) :] + names[: number % len(names)]:
        if name == CEILING:
            found[name] = {"a_second": ceiling.rate()}
            continue
        began, spent = perf_counter(), process_time()
        answers = asks[name]()
        took_s, cpu_s = perf_counter() - began, process_time() - spent
        latencies = sorted(latency for _, latency in answers)
        found[name] = {"a_second": len(answers) / took_s, "cpu_s": cpu_s / len(answers), "p50": median(latencies), "p99": p99(latencies)}
        said[name] = [text for text, _ in answers]
    found["equal"] = all(text == said[DIRECT][n % len(questions)] for own in said.values() for n, text in enumerate(own))
    return found


def timed(ask: Callable[[], Answer]) -> tuple[str, float]:
    """Return an answer's JSON without what its stages took, and the seconds that it took to come."""
    began = perf_counter()
    answer = ask()
    return json.dumps(answer.to_json() | {"timings_ms": None}), perf_counter() - began


def p99(values: Sequence[float]) -> float:
    """Return what one in a hundred exceeds."""
    return quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else values[0]


class Alone:
    """Processes that share nothing, one for each processor, each with a search of its own; a context manager."""

    def __init__(self, index: Path, questions: Sequence[Asked], runtime: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._count = len(questions)
        self._pipes: list[Connection[Any, Any]] = []
        for _ in range(processors()):
            ours, theirs = spawn.Pipe()
            spawn.Process(target=ask_alone, args=(theirs, index, list(questions), runtime), daemon=True).start()
            self._pipes.append(ours)
        self._every([pipe.recv() for pipe in self._pipes])

    def __enter__(self) -> Alone:
        return self

    def __exit__(self, *error: object) -> None:
        for pipe in self._pipes:
            pipe.send(False)

    def rate(self) -> float:
        """Return how many questions a second all processes answer together."""
        began = perf_counter()
        for pipe in self._pipes:
            pipe.send(True)
        self._every([pipe.recv() for pipe in self._pipes])
        return self._count * len(self._pipes) / (perf_counter() - began)

    def _every(self, said: Sequence[bool]) -> None:
        assert all(said)


def ask_alone(pipe: Connection[Any, Any], index: Path, questions: Sequence[Asked], runtime: str) -> None:
    """Ask all questions each time that is wanted, in one thread; what one of `Alone`'s processes does."""
    with computing_with(1), GeoSearch.open(index, street_weights=None, runtime=RuntimeOptions(runtime)) as search:
        pipe.send(True)
        for _ in count():
            if not pipe.recv():
                return
            for jpeg, told in questions:
                search.query(jpeg, **told)
            pipe.send(True)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5, help="that count")
    parser.add_argument("--size-m", type=int, default=500, help="side of the town")
    parser.add_argument("--runtime", default="auto", help="of the models; auto builds what engines it wants")
    parser.add_argument("--unknown", action="store_true", help="tell nothing of the camera: seconds a question")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()), help="where the town and its index are made and removed again"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
