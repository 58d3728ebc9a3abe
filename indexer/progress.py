"""How far a build or a change is, told from one thread at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from crossgeo.indexer.pieces import Maker


@dataclass(frozen=True)
class Progress:
    """How far a build is: `done` of `total` blocks ("imagery") or tiles ("describe"), and who works on it where others help.

    Where imagery lies in several CRSs, one is cut while another is described: `total` is then of the tiles that are known by now.
    """

    stage: str
    done: int
    total: int
    who: str = ""


class Counter:
    """Tells a stage's progress."""

    def __init__(self, stage: str, total: int, progress: Callable[[Progress], None] | None) -> None:
        self._stage, self._total, self._progress = stage, total, progress
        self._done = 0

    def step(self, more: int) -> None:
        self._done += more
        if self._progress is not None:
            self._progress(Progress(self._stage, self._done, self._total))


class AreaCounts:
    """The progress of areas that are cut while others are described, told from one thread at a time.

    Blocks are told until tiles are described, from then on tiles of as many as are known to come. Once something has failed, whoever tells
    of more is ended by it.
    """

    def __init__(self, blocks: int, progress: Callable[[Progress], None] | None, maker: Maker) -> None:
        self._blocks, self._progress, self._maker = blocks, progress, maker
        self._cut = self._described = self._tiles = 0
        self._describing = False
        self._failed: BaseException | None = None
        self._lock = Lock()

    def known(self, tiles: int) -> None:
        """Hear of tiles that are to be described, or were."""
        with self._lock:
            self._tiles += tiles

    def cut(self, more: int) -> None:
        """Tell that more blocks are cut."""
        with self._lock:
            self._check()
            self._cut += more
            if not self._describing:
                self._tell("imagery", self._cut, self._blocks, self._maker.who)

    def described(self, more: int) -> None:
        """Tell that more tiles are described, and how far cutting is."""
        with self._lock:
            self._check()
            self._described += more
            self._describing = True
            reading = f"{self._cut} of {self._blocks} blocks read" if self._cut < self._blocks else ""
            self._tell("describe", self._described, self._tiles, "; ".join(word for word in (self._maker.who, reading) if word))

    def end(self, error: BaseException) -> None:
        """Have whoever tells of more be ended by an error, the first that there was."""
        with self._lock:
            self._failed = self._failed or error

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _tell(self, stage: str, done: int, total: int, who: str) -> None:
        if self._progress is not None:
            self._progress(Progress(stage, done, total, who))
