"""Cut the power at every moment of an index's life, open what may be left, and print what came of it as JSON.

Run: python losing.py FOLDER --states 300 [--seed 0]. The calls to the file system of a life are recorded, a life in which every step is
broken off before some syncs and right after its commit and then given again; power.py says which states a cut after each of them may
leave. Each must open as the last acknowledged generation or as the one that was being made, whole; of some the life goes on to its end, as
if nothing had been.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from power import Disk
from world import Step, ask, life, parsed, state, write_imagery

from crossgeo import disk
from crossgeo.errors import GeoError

GO_ON_EVERY = 12
BREAKS = 3


class BrokenOff(BaseException):
    """The step ends here."""


def recorded(folder: Path, steps: Sequence[Step], rng: random.Random) -> tuple[Disk, list[Any]]:
    """Return the calls of a life and the answers after each step."""
    out, calls, answers = folder / "a.geo", Disk(folder), []
    for number, step in enumerate(steps):
        for syncs in [*sorted(rng.randrange(1, 20) for _ in range(BREAKS)), None]:
            disk.CALL = calls.record if syncs is None else _before_a_sync(syncs, calls)
            disk.FAULT = _after_commit if syncs is None else None
            try:
                step(out)
            except BrokenOff:
                calls.mark("broken off")
        disk.CALL, disk.FAULT = calls.record, None
        step(out)
        disk.CALL = None
        calls.mark(f"acknowledged {number}")
        answers.append(ask(out))
    return calls, answers


def _after_commit(point: str) -> None:
    if point == "CURRENT: renamed":
        raise BrokenOff


def _before_a_sync(syncs: int, calls: Disk) -> Callable[[str, Path, Path | None], None]:
    """Return a hook that records and breaks off before the n-th sync, where the most is at risk."""
    left = [syncs]

    def record(kind: str, path: Path, target: Path | None) -> None:
        left[0] -= kind == "sync"
        if left[0] == 0 and kind == "sync":
            raise BrokenOff
        calls.record(kind, path, target)

    return record


def lay_out(found: dict[str, bytes | None], folder: Path) -> None:
    """Make the files and folders of a state."""
    folder.mkdir()
    for path, data in found.items():
        if data is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(data)


def main() -> None:
    """Look at so many states, spread over all events."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--states", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parsed(parser)
    rng = random.Random(args.seed)
    steps = life(write_imagery(args.folder))
    live = args.folder / "live"
    live.mkdir()
    calls, answers = recorded(live, steps, rng)
    assert all(answer[0] == "answer" for answer in answers), answers
    assert calls.events.count("broken off") > len(steps)
    wrong: list[Any] = []
    kept, went_on = [0, 0], 0
    for number in range(args.states):
        events = round(number * len(calls.events) / max(1, args.states - 1))
        done = sum(event.startswith("acknowledged") for event in calls.events[:events])
        folder = args.folder / "dark"
        lay_out(calls.after(events, (0.0, 1.0, 0.5, 0.8)[number % 4], rng), folder)
        out = folder / "a.geo"
        said = ask(out)
        allowed = answers[max(0, done - 1) : done + 1]
        at = f"event {events}, {[*calls.events, 'the end'][events]}"
        if said not in allowed and (done > 0 or said[0] != "InputError"):
            wrong.append([at, done, said])
        elif said in allowed:
            kept[allowed.index(said)] += 1
        if number % GO_ON_EVERY == 0:
            try:
                for step in steps[done:]:
                    step(out)
            except GeoError as error:
                wrong.append([at, done, "going on", repr(error)])
            if ask(out) != answers[-1] or (done < len(steps) and state(out) != [answers[-1][1], [], []]):
                wrong.append([at, done, "at the end", ask(out), state(out)])
            went_on += 1
        shutil.rmtree(folder)
    summary = {"seed": args.seed, "events": len(calls.events), "states": args.states, "went_on": went_on}
    print(json.dumps({**summary, "older_generation": kept[0], "newer_generation": kept[1], "wrong": wrong}))


main()
