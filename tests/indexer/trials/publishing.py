"""Publish generation after generation while four processes read, and print what came of it as JSON.

Run: python publishing.py FOLDER --seconds 300 [--every-s 0.05] [--seed 0]. Three indexes take turns in one folder, each publication a new
generation whose segments are moved in and whose forerunners are removed. A reader opens, asks for all there is, waits, asks again and
closes: both times every answer must be that of one and the same generation, and to open must never fail; nor may `verify` find damage.
A process of its own, so that forking is safe: it starts no thread before it forks.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from forking import forked
from world import ask, build, digest, parsed, publish, state, write_imagery

from crossgeo.errors import GeoError
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.verify import verify_index

READERS = 4


def reader(out: Path, oracle: dict[str, str], until: float, rng: random.Random) -> dict[str, Any]:
    """Read until a moment; return how many answers there were, of how many generations, and what is wrong."""
    answers, generations, wrong = 0, set(), []
    slowest_s = 0.0
    while time.monotonic() < until:
        try:
            began = time.monotonic()
            with GeoIndex.open(out) as index:
                slowest_s = max(slowest_s, time.monotonic() - began)
                generations.add(index.generation)
                said = [digest(index)]
                time.sleep(rng.uniform(0.0, 0.12))
                said.append(digest(index))
                if said != [oracle[index.manifest.hash]] * 2:
                    wrong.append([index.generation, index.manifest.hash, said])
                answers += 2
            if problems := verify_index(out):
                wrong.append(problems)
        except GeoError as error:
            wrong.append(repr(error))
    return {"answers": answers, "generations": len(generations), "slowest_open_s": round(slowest_s, 3), "wrong": wrong}


def publisher(out: Path, variants: Sequence[Path], until: float, every_s: float) -> dict[str, Any]:
    """Publish the variants in turn until a moment; return how often, and how far apart at most."""
    published, longest_s, turn = 0, 0.0, time.monotonic()
    while turn < until:
        began = time.monotonic()
        publish(variants[published % len(variants)], out)
        published += 1
        turn = max(turn + every_s, time.monotonic() - every_s)
        time.sleep(max(0.0, turn - time.monotonic()))
        longest_s = max(longest_s, time.monotonic() - began)
    return {"published": published, "longest_s": round(longest_s, 3)}


def begun(work: Callable[[], Any], said: Path) -> int:
    """Do work in a child that leaves its result as JSON; return the child."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            said.write_text(json.dumps(work()))
            code = 0
        finally:
            os._exit(code)
    return child


def main() -> None:
    """Publish and read for so many seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--every-s", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    args = parsed(parser)
    imagery = write_imagery(args.folder)
    variants, oracle = [], {}
    for name, sources in {"one": ["near"], "two": ["near", "far"], "three": ["far"]}.items():
        variants.append(args.folder / f"{name}.geo")
        forked(partial(build, variants[-1], [imagery[s] for s in sources], stride_m=30.0))
        said = forked(lambda: ask(variants[-1]))[1]
        assert said[0] == "answer", said
        oracle[said[1]] = said[2]
    out = args.folder / "live.geo"
    forked(lambda: publish(variants[0], out))
    until = time.monotonic() + args.seconds

    def read(number: int) -> Callable[[], Any]:
        return lambda: reader(out, oracle, until, random.Random(f"{args.seed}-{number}"))

    children = {f"reader-{n}": begun(read(n), args.folder / f"reader-{n}") for n in range(READERS)}
    children["publisher"] = begun(lambda: publisher(out, variants, until, args.every_s), args.folder / "publisher")
    ended = {name: os.waitpid(child, 0)[1] for name, child in children.items()}
    results = {name: json.loads((args.folder / name).read_text()) if status == 0 else None for name, status in ended.items()}
    wrong = [[name, status] for name, status in ended.items() if status != 0]
    readers = [result for name, result in results.items() if name != "publisher" and result is not None]
    wrong += [w for result in readers for w in result.pop("wrong")]
    left = forked(lambda: state(out))[1]
    if left is None or left[0] not in oracle or left[1:] != [[], []]:
        wrong.append(["at the end", left])
    print(json.dumps({"seed": args.seed, "seconds": args.seconds, **(results["publisher"] or {}), "readers": readers, "wrong": wrong}))


main()
