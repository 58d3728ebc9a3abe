"""Build in too little memory, more of it each time, and print what came of it as JSON.

Run: python starving.py FOLDER [--step-mib 2]. The address space of each child is what it has when it is forked and some more. How a build
out of memory ends, in an error or by a signal, is up to the library that asked last; the index must answer as before, and the build, given
again with memory, must end as if nothing had been. A process of its own, so that forking is safe: it starts no thread before it forks.
"""

from __future__ import annotations

import argparse
import json
import resource
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from forking import forked
from world import ask, parsed, short_life, state, write_imagery


def used_bytes() -> int:
    """Return the address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def starved(work: Any, more_bytes: int) -> str:
    """Do work in what this process has and some more; return how it ended."""
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes() + more_bytes, resource.RLIM_INFINITY))
    try:
        work()
    except Exception as error:
        return type(error).__name__
    return "done"


def main() -> None:
    """Give more memory until a build is done in it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--step-mib", type=float, default=2.0)
    args = parsed(parser)
    first, second, *_ = short_life(write_imagery(args.folder))
    out, unbroken = args.folder / "a.geo", args.folder / "unbroken.geo"
    for index, step in ((out, first), (unbroken, first)):
        forked(partial(step, index))
    before = forked(partial(ask, out))[1]
    forked(partial(second, unbroken))
    after = forked(partial(ask, unbroken))[1]
    ended: Counter[str] = Counter()
    wrong: list[Any] = []
    for number in range(200):
        more_bytes = round(number * args.step_mib * 2**20)
        status, how = forked(lambda more=more_bytes: starved(partial(second, out), more))
        ended[how if status == 0 else f"status {status}"] += 1
        said = forked(partial(ask, out))
        if said not in ([0, before], [0, after], (0, before), (0, after)):
            wrong.append([more_bytes, status, how, said])
        if how == "done":
            break
    forked(partial(second, out))
    if forked(partial(state, out))[1] != [after[1], [], []]:
        wrong.append(["given again", forked(partial(state, out))])
    print(json.dumps({"enough_bytes": more_bytes, "ended": dict(sorted(ended.items())), "wrong": wrong}))


main()
