"""Photos answered by a worker of a cluster: what it is told, what it opens once, and what it gives back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from crossgeo.engine.batch.here import Here
from crossgeo.engine.batch.identity import check_alike, of_search, runtimes_of
from crossgeo.engine.batch.pipeline import Task
from crossgeo.engine.cluster import Shard
from crossgeo.engine.output import Record
from crossgeo.engine.question import BatchOptions
from crossgeo.engine.search import GeoSearch


@dataclass(frozen=True)
class Told:
    """What every worker of a batch is told."""

    open: Callable[[], GeoSearch]  # the same search, wherever it is called
    alike: dict[str, str]  # what that search must be (`identity.of_search`)
    folder: str  # that the command was started in, from which paths are meant
    spell_s: float  # how long a worker goes on before it gives back what it has


@dataclass(frozen=True)
class Sent:
    """A photo to answer, and its size in bytes as the driver sees it; -1 where it sees none."""

    task: Task
    size: int


@dataclass(frozen=True)
class Given:
    """A photo's record; `unseen` where its file is not the driver's."""

    number: int
    record: Record
    unseen: bool


@dataclass(frozen=True)
class Back:
    """What a worker gives back: the records of the photos that it came to, and how its models run."""

    given: tuple[Given, ...]
    runtimes: str


@dataclass(frozen=True)
class Photos:
    """What one shard is of: photos, and what is asked of all of them."""

    sent: tuple[Sent, ...]
    options: BatchOptions


class Worker:
    """An open search and what answers over it, made once in a worker's process."""

    def __init__(self, told: Told) -> None:
        """Open the search; raise what opening it raises, MismatchError for one that is not the driver's."""
        with suppress(OSError):  # paths that lead nowhere from here are said one by one
            os.chdir(told.folder)
        self.told = told
        self.pace_s = 0.0  # that a photo of the last shard took
        self.search = told.open()
        try:
            check_alike(of_search(self.search), told.alike, str(self.search.index.path))
            self.here = Here(self.search, workers=1, threads=torch.get_num_threads())  # that whoever started this process allows it
        except BaseException:
            self.search.close()
            raise

    def close(self) -> None:
        """Close what was opened."""
        self.here.close()
        self.search.close()


def answer(worker: Worker, photos: Photos) -> Back:
    """Answer as many photos as a spell has room for, the first one always; the others are for the driver to send again."""
    began, spell_s = time.monotonic(), worker.told.spell_s
    unseen: set[int] = set()

    def tasks() -> Iterator[Task]:
        for number, sent in enumerate(photos.sent):
            # Several are taken at once, to be decoded ahead: by the clock alone, a spell of slow photos would last several times as long.
            if number and max(time.monotonic() - began, number * worker.pace_s) > spell_s:
                return
            if sent.task.item.file[0] != sent.size:
                unseen.add(sent.task.number)
            yield sent.task

    pipeline = worker.here.pipeline(photos.options, begin=lambda task: None)
    given = tuple(Given(task.number, record, task.number in unseen) for task, record in pipeline.run(tasks()))
    worker.pace_s = (time.monotonic() - began) / len(given)
    return Back(given, runtimes_of(worker.search))


def shard_of(photos: Photos) -> Shard[Photos]:
    """Return photos as a shard, which errors name by the first of them."""
    return Shard(f"{photos.sent[0].task.item.name} and {len(photos.sent) - 1} more", photos, len(photos.sent))


def halve(shard: Shard[Photos]) -> Sequence[Shard[Photos]]:
    """Cut a shard in two; one photo is left as it is."""
    sent, options = shard.payload.sent, shard.payload.options
    middle = len(sent) // 2
    return [shard_of(Photos(part, options)) for part in (sent[:middle], sent[middle:])] if middle else ()
