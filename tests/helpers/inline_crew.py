"""Crews for tests: workers that are this process itself, with something that may happen to each shard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from crossgeo.indexer.shards import Brief, CutShard, DescribeShard, Done
from crossgeo.indexer.spread import Crew
from crossgeo.indexer.workshop import Workshop

Shard = CutShard | DescribeShard


class InlineRunner:
    """Workers that are this process: it takes a few shards and does the last first, so that they never end in order."""

    who = "this process"
    versions = "made"

    def __init__(self, describe: Any, happens: Callable[[str, Shard, Workshop], Workshop | None] | None = None) -> None:
        self._describe, self._happens = describe, happens or (lambda *_: None)
        self.done: list[str] = []
        self.node = "node-0"

    def cut(self, brief: Brief, todo: Iterable[Shard | None], stop: threading.Event | None = None) -> Generator[Done, None, None]:
        shop, out = Workshop(brief, self._describe, "made"), []
        try:
            for shard in todo:
                if stop is not None and stop.is_set():
                    return
                out += [] if shard is None else [shard]
                if not out:
                    assert stop is not None, "nothing to do and nothing to wait for"
                    stop.wait(0.001)
                elif shard is None or len(out) == 3:
                    yield self._do(shop, out.pop())
            while out:
                yield self._do(shop, out.pop())
        finally:
            shop.close()

    describe = cut

    def _do(self, shop: Workshop, shard: Shard) -> Done:
        shop = self._happens("before", shard, shop) or shop
        made = shop.cut(shard) if isinstance(shard, CutShard) else shop.describe(shard)
        self._happens("after", shard, shop)
        self.done.append(shard.name)
        return Done(shard, made, self.node)


def crew(runner: InlineRunner, tmp_path: Path, storage: str | None = "storage", *, mixed: bool = False) -> Crew:
    """Return a crew that leaves its shards in a folder here, or in the index's own."""
    if storage is not None:
        (tmp_path / storage).mkdir(exist_ok=True)
    return Crew(runner, None if storage is None else str(tmp_path / storage), mixed)


def stop_after(kind: type[Shard], count: int) -> Callable[[str, Shard, Workshop], Workshop | None]:
    """Return what interrupts the driver before one more shard of a kind than `count` is done."""
    left = [count]

    def happens(when: str, shard: Shard, _: Workshop) -> None:
        if when == "before" and isinstance(shard, kind):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

    return happens


def other_digits(describe: Any) -> Any:
    """Return a description that differs from another in its last digits."""

    def run(tiles: Any) -> Any:
        return np.nextafter(describe(tiles), np.float32(1.0))

    return run


class Killed(BaseException):
    """Stands for the end of the driver or of all workers: nobody catches it."""
