"""Fail the n-th call to the file system of every step of an index's life, for every n, and print what came of it as JSON.

Run: python failing.py FOLDER [--sweeps 6] [--every 1 --first 1]. In one sweep the n-th call fails with one of EIO, ENOSPC and EMFILE, once
or from then on, in turn over n; six sweeps try every n with all of them. After each failure the index must answer as before or as the step
would have it, the error must be one for the user, and the step, given again, must end as if nothing had been.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from world import Step, ask, parsed, short_life, state, write_imagery

from crossgeo import disk
from crossgeo.errors import GeoError

NUMBERS = (errno.EIO, errno.ENOSPC, errno.EMFILE)
WAYS = [(number, forever) for forever in (False, True) for number in NUMBERS]


class Failing:
    """A disk whose n-th call fails; it remembers which call that was."""

    def __init__(self, n: int, number: int, forever: bool) -> None:
        self._left, self._number, self._forever = n, number, forever
        self.failed = ""

    def __call__(self, kind: str, path: Path, _: Path | None) -> None:
        self._left -= 1
        if self._left == 0 or (self._left < 0 and self._forever):
            self.failed = self.failed or f"{kind} {path.name}"
            raise OSError(self._number, os.strerror(self._number), str(path))


def tried(step: Step, before: Path, folder: Path, n: int, way: tuple[int, bool], answers: list[Any]) -> tuple[str, str, list[Any]]:
    """Return which call failed (empty: there were fewer), how the step ended, and what is wrong; `answers` are those before and after."""
    out = folder / "a.geo"
    shutil.rmtree(out, ignore_errors=True)
    if before.exists():
        shutil.copytree(before, out)
    failing = Failing(n, *way)
    ended, wrong = "done", []
    disk.CALL = failing
    try:
        step(out)
    except GeoError as error:
        ended = type(error).__name__
    except Exception as error:
        ended = repr(error)
        wrong.append(f"the step ended with {ended}")
    disk.CALL = None
    said = ask(out)
    if said not in answers and (answers[0] is not None or said[0] != "InputError"):
        wrong.append(f"the index says {said}")
    try:
        step(out)
        manifest_hash, problems, litter = state(out)
        committed = said == answers[1]  # what is left over then goes with the next change
        if ask(out) != answers[1] or [manifest_hash, problems] != [answers[1][1], []] or (litter and not committed):
            wrong.append(f"in the end there is {state(out)}")
    except Exception as error:
        wrong.append(f"given again, the step ended with {error!r}")
    at = [n, failing.failed, os.strerror(way[0]), "from then on" if way[1] else "once"]
    return failing.failed, ended, [[*at, w] for w in wrong]


def main() -> None:
    """Sweep over the calls of every step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweeps", type=int, default=1)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=1)
    args = parsed(parser)
    steps = short_life(write_imagery(args.folder))
    before, answers = args.folder / "before.geo", None
    trials, wrong, ended = 0, [], Counter[str]()
    calls = []
    for step in steps:
        after = args.folder / "after.geo"
        if before.exists():
            shutil.copytree(before, after)
        step(after)
        there = ask(after)
        for sweep in range(args.sweeps):
            n = args.first
            while True:
                way = WAYS[(n // args.every + sweep) % len(WAYS)]
                failed, how, bad = tried(step, before, args.folder, n, way, [answers, there])
                if not failed:
                    break
                n, trials, wrong = n + args.every, trials + 1, wrong + bad
                ended[how] += 1
        calls.append(n - 1)
        shutil.rmtree(before, ignore_errors=True)
        after.rename(before)
        answers = there
    print(json.dumps({"calls": calls, "trials": trials, "ended": dict(sorted(ended.items())), "wrong": wrong}))


main()
