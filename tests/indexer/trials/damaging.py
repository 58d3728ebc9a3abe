"""Damage the files of an index, and of an unfinished one, in children that may die of it, and print what came of it as JSON.

Run: python damaging.py FOLDER --trials 10000 [--pieces 200] [--seed 0]. Files are cut short, lengthened or removed, bits flipped, pages
zeroed. What must hold: no child dies; an index with a damaged file gives an error that names the file, or the same answers as ever; so does
`verify`; and a build that goes on over damaged work ends at the same index. The process starts no thread before it forks for the last time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from forking import forked
from world import ask, build, life, parsed, state, write_imagery

from crossgeo import disk
from crossgeo.indexer.verify import verify_index

PAGE = 4096
TRIALS_PER_CHILD = 200
KINDS = ("removed", "cut", "cut", "cut", "lengthened", "flipped", "flipped", "flipped", "zeroed", "zeroed")


def damage(data: bytes, kind: str, rng: random.Random) -> tuple[str, bytes | None]:
    """Return what was done to a file, and the bytes that are left; None: no file."""
    at = rng.randrange(len(data))
    if kind == "removed":
        return kind, None
    if kind == "cut":
        at = rng.choice([at, at // PAGE * PAGE])
        return f"cut to {at} of {len(data)}", data[:at]
    if kind == "lengthened":
        return kind, data + bytes(rng.choice([1, PAGE]))
    if kind == "flipped":
        bit = rng.randrange(8)
        return f"bit {bit} of byte {at} flipped", data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
    at = at // PAGE * PAGE
    return f"page at {at} zeroed", data[:at] + bytes(len(data[at : at + PAGE])) + data[at + PAGE :]


def files_of(folder: Path) -> list[Path]:
    """Return the files of an index, the lock apart."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "LOCK")


def trial(index: Path, seed: str, whole: list[Any]) -> dict[str, Any]:
    """Damage one file of an index, ask, and mend it again."""
    rng = random.Random(seed)
    path = rng.choice(files_of(index))
    data = path.read_bytes()
    kind = rng.choice(KINDS)
    what, left = damage(data, kind, rng)
    if left is None:
        path.unlink()
    else:
        path.write_bytes(left)
    said = ask(index)
    problems = verify_index(index) if (index / "CURRENT").exists() else ["CURRENT"]
    path.write_bytes(data)
    if left == data:
        outcome = "unchanged"
        wrong = said != whole or problems != []
    else:
        outcome = said[0] if said != whole else "harmless"
        wrong = outcome == "answer" or (outcome != "harmless" and not (path.name in said[1] and any(path.name in p for p in problems)))
    return {"file": path.name, "kind": kind, "what": what, "outcome": outcome, "wrong": wrong, "said": said, "problems": problems}


def in_children(folder: Path, trials: int, seed: int, whole: list[Any]) -> Iterator[dict[str, Any]]:
    """Yield the result of each trial, many to a child; one that ends its child has a `signal`."""
    at, copies = 0, 0
    while at < trials:
        copies += 1
        index = folder / f"damaged-{copies}.geo"
        shutil.copytree(folder / "whole.geo", index)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            with os.fdopen(writer, "w") as said:
                for number in range(at, min(trials, at + TRIALS_PER_CHILD)):
                    print(json.dumps(trial(index, f"{seed}-{number}", whole)), file=said, flush=True)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as lines:
            for line in lines:
                at += 1
                yield json.loads(line)
        status = os.waitpid(child, 0)[1]
        if status != 0:
            yield {"trial": f"{seed}-{at}", "signal": status, "wrong": True, "outcome": "signal", "kind": "", "file": ""}
            at += 1
        assert status != 0 or forked(partial(ask, index))[1] == whole  # mended every time: each trial began with a whole index
        shutil.rmtree(index)


class BrokenOff(BaseException):
    """The build ends here."""


def unfinished(folder: Path, points: int) -> None:
    """Begin to build, and break off at a point."""
    left = [points]

    def break_off(_: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise BrokenOff

    disk.FAULT = break_off
    try:
        build(folder / "a.geo", [folder / "near.tif", folder / "far.tif"])
    except BrokenOff:
        pass
    finally:
        disk.FAULT = None


def piece(folder: Path, rng: random.Random, wanted: str) -> list[Any]:
    """Damage some of what an unfinished build left and go on; return what is wrong."""
    shutil.rmtree(folder / "a.geo", ignore_errors=True)
    points = rng.randrange(6, 60)
    unfinished(folder, points)
    done = []
    for path in files_of(folder / "a.geo"):
        if path.name != "CURRENT" and not path.name.startswith("manifest") and path.stat().st_size and rng.random() < 0.5:
            what, left = damage(path.read_bytes(), rng.choice(KINDS), rng)
            done.append(f"{path.name} {what}")
            if left is None:
                path.unlink()
            else:
                path.write_bytes(left)
    try:
        build(folder / "a.geo", [folder / "near.tif", folder / "far.tif"])
        found = state(folder / "a.geo")
    except Exception as error:
        found = [repr(error)]
    return [] if found == [wanted, [], []] else [points, done, found]


def main() -> None:
    """Try as many damages as asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--pieces", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parsed(parser)
    imagery = write_imagery(args.folder)
    for step in life(imagery)[:-1]:  # not compacted: with several layers, and something removed
        forked(partial(step, args.folder / "whole.geo"))
    whole = forked(lambda: ask(args.folder / "whole.geo"))[1]
    assert whole[0] == "answer", whole
    results = list(in_children(args.folder, args.trials, args.seed, whole))
    build(args.folder / "other.geo", [args.folder / "near.tif", args.folder / "far.tif"])
    wanted = state(args.folder / "other.geo")[0]
    rng = random.Random(args.seed)
    pieces = [piece(args.folder, rng, wanted) for _ in range(args.pieces)]
    summary = {
        "seed": args.seed,
        "trials": len(results),
        "signals": sum("signal" in r for r in results),
        "outcomes": dict(sorted(Counter(f"{r['kind']}: {r['outcome']}" for r in results).items())),
        "files": dict(sorted(Counter(r["file"] for r in results).items())),
        "pieces": len(pieces),
    }
    print(json.dumps({**summary, "wrong": [r for r in results if r["wrong"]] + [p for p in pieces if p]}))


main()
