"""What the workers of these tests do: functions of a module, which workers import by name."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crossgeo.engine.cluster import Shard
from crossgeo.errors import InputError, LimitError, WeightsError


@dataclass(frozen=True)
class Rules:
    """What is to happen to which number, and where that is noted."""

    notes: Path
    kill: frozenset[int] = frozenset()  # whoever does it dies
    kill_once: frozenset[int] = frozenset()
    refuse: frozenset[int] = frozenset()
    full: frozenset[int] = frozenset()
    full_nodes: frozenset[str] = frozenset()  # empty: all
    bug: frozenset[int] = frozenset()
    hang_once: frozenset[int] = frozenset()
    each_s: float = 0.0
    no_weights: bool = False
    setup_s: float = 0.0


def setup(rules: Rules) -> Rules:
    """Note that a state was made."""
    if rules.no_weights:
        raise WeightsError("no weights egotr-x; pull them")
    time.sleep(rules.setup_s)
    note(rules, "setup", os.getpid())
    return rules


def note(rules: Rules, what: str, of: int) -> int:
    """Append a note, return how many there are of it."""
    path = rules.notes / f"{what}-{of}"
    with path.open("a") as file:
        file.write("x")
    return path.stat().st_size


def noted(rules: Rules, what: str) -> dict[int, int]:
    """Return how often what was noted, by number."""
    return {int(path.name.rpartition("-")[2]): path.stat().st_size for path in sorted(rules.notes.glob(f"{what}-*"))}


def squares(rules: Rules, numbers: Sequence[int]) -> list[int]:
    """Return squares, unless the rules say otherwise."""
    for number in numbers:
        times = note(rules, "do", number)
        if seen := os.environ.get("CUDA_VISIBLE_DEVICES"):
            note(rules, f"gpu{seen}", os.getpid())
        if number in rules.kill or (number in rules.kill_once and times == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if number in rules.refuse:
            raise InputError(f"{number} cannot be read; copy it again")
        if number in rules.full and (not rules.full_nodes or this_node() in rules.full_nodes):
            raise LimitError("the disk is full; make room")
        if number in rules.bug:
            return [{}[number]]
        if number in rules.hang_once and times == 1:
            time.sleep(600.0)
        time.sleep(rules.each_s)
    return [number * number for number in numbers]


def this_node() -> str:
    """Return where Ray runs this."""
    from crossgeo.engine.cluster import ray_task

    return ray_task.this_node()


def gpu(rules: Rules, numbers: Sequence[int]) -> str:
    """Return the GPU that this process sees, after a while, so that no process does all."""
    time.sleep(rules.each_s)
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


def unsendable(rules: Rules, numbers: Sequence[int]) -> object:
    """Return what cannot travel."""
    return lambda: numbers


def halve(shard: Shard[Sequence[int]]) -> list[Shard[Sequence[int]]]:
    """Return a shard in two, none of a single number."""
    numbers = shard.payload
    if len(numbers) < 2:
        return []
    middle = len(numbers) // 2
    return [shard_of(numbers[:middle]), shard_of(numbers[middle:])]


def shard_of(numbers: Sequence[int]) -> Shard[Sequence[int]]:
    """Return the shard of some numbers."""
    return Shard(f"{numbers[0]}..{numbers[-1]}", tuple(numbers), len(numbers))


def shards_of(count: int, size: int = 1) -> list[Shard[Sequence[int]]]:
    """Return the numbers below `count` in shards."""
    return [shard_of(range(first, min(first + size, count))) for first in range(0, count, size)]


def add(state: Rules, number: int) -> int:
    """Answer a call of an actor."""
    return number + 1


def whoami(state: Rules) -> int:
    """Return the process of an actor."""
    return os.getpid()


def die(state: Rules) -> None:
    """End the process of an actor."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(state: Rules) -> None:
    """Refuse a call."""
    raise InputError("no such photo; copy it again")


def stumble(state: Rules) -> None:
    """Show a bug."""
    raise KeyError("tile")


def wait(state: Rules, seconds: float) -> float:
    """Answer later."""
    time.sleep(seconds)
    return seconds
