"""A job on disk: a folder with what was asked, the photos until they are answered, and the answers, a line each as they come.

job.json        what was asked, and the state it was left in
photos/000000   an upload, as it came; the photos go once the job is finished
answers.jsonl   {"number": n, "record": ...} for photo n; a last line that was cut short is dropped
results.csv     and the like: results in a format that somebody asked for
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from crossgeo import disk
from crossgeo.engine.batch import BatchItem, BatchOptions, BatchProgress
from crossgeo.engine.batch.progress import Tally, status_of
from crossgeo.errors import StoreError

State = Literal["queued", "running", "done", "cancelled", "failed"]
FINISHED = ("done", "cancelled", "failed")
VERSION = 1
Record = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What a job asks; it never changes."""

    id: str
    index: str
    created: str  # UTC, ISO 8601
    options: BatchOptions
    items: tuple[BatchItem, ...]


@dataclass
class Job:
    """One job and how far it is; of one event loop."""

    folder: Path
    asked: Asked
    state: State = "queued"
    finished: str | None = None
    why: str | None = None  # it failed
    tally: Tally = field(default_factory=Tally)
    answered: set[int] = field(default_factory=set)

    @classmethod
    def new(cls, folder: Path, asked: Asked) -> Job:
        """Write a job into a folder that holds its photos."""
        job = cls(folder, asked)
        job.save()
        return job

    @classmethod
    def load(cls, folder: Path) -> Job:
        """Read a job that was kept; raise StoreError where it is none."""
        path = folder / "job.json"
        try:
            data = json.loads(disk.read(path))
            if data["version"] != VERSION:
                raise ValueError("of another version")
            photos = folder / "photos"
            items = tuple(_item(photos / f"{number:06}", item) for number, item in enumerate(data["items"]))
            asked = Asked(data["id"], data["index"], data["created"], _options(data["options"]), items)
            job = cls(folder, asked, data["state"], data["finished"], data["why"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}: is no job of this program ({error}); delete its folder") from error
        job._drop_torn_line()
        for number, record in job.records():
            job.answered.add(number)
            job.tally.add(status_of(record), resumed=True)
        return job

    def save(self) -> None:
        """Write its state."""
        items = [{key: value for key, value in asdict(item).items() if key not in ("path", "fault")} for item in self.asked.items]
        data = {
            "version": VERSION, "id": self.asked.id, "index": self.asked.index, "created": self.asked.created, "state": self.state,
            "finished": self.finished, "why": self.why, "options": asdict(self.asked.options), "items": items,
        }  # fmt: skip
        disk.write(self.folder / "job.json", json.dumps(data).encode())

    def add(self, number: int, record: Record) -> None:
        """Keep the answer of a photo; it survives the process from here on."""
        line = json.dumps({"number": number, "record": record}, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with disk.guarded(self.answers), self.answers.open("ab") as file:
            file.write(line)
        self.answered.add(number)
        self.tally.add(status_of(record))

    def records(self, after: int = 0) -> Iterator[tuple[int, Record]]:
        """Yield photos' numbers and records in the order in which they were answered, without the first `after`."""
        if not self.answers.exists():
            return
        with self.answers.open("rb") as file:
            for count, line in enumerate(file):
                if count >= after and line.endswith(b"\n"):
                    entry = json.loads(line)
                    yield entry["number"], entry["record"]

    def in_order(self) -> Iterator[Record]:
        """Yield the records in the photos' order."""
        if not self.answers.exists():
            return
        places: dict[int, int] = {}
        with self.answers.open("rb") as file:
            while line := file.readline():
                places[json.loads(line)["number"]] = file.tell() - len(line)
            for number in sorted(places):
                file.seek(places[number])
                yield json.loads(file.readline())["record"]

    @property
    def answers(self) -> Path:
        """The file of answers."""
        return self.folder / "answers.jsonl"

    @property
    def progress(self) -> BatchProgress:
        """How far it is."""
        return self.tally.progress(len(self.asked.items))

    def to_json(self) -> Record:
        """Return what clients are told of it."""
        progress = asdict(self.progress)
        return {
            "id": self.asked.id, "state": self.state, "index": self.asked.index, "created": self.asked.created, "finished": self.finished,
            "why": self.why, **progress,
        }  # fmt: skip

    def _drop_torn_line(self) -> None:
        if not self.answers.exists():
            return
        with self.answers.open("r+b") as file:
            whole = 0
            for line in file:
                whole += len(line) if line.endswith(b"\n") else 0
            file.truncate(whole)


def _item(path: Path, data: Record) -> BatchItem:
    points = tuple((float(x), float(y)) for x, y in data.pop("points"))
    near = data.pop("near")
    return BatchItem(path, points=points, near=None if near is None else (near[0], near[1]), **data)


def _options(data: Record) -> BatchOptions:
    options = BatchOptions(**data)
    near, bounds = options.near, options.bounds
    return replace(options, near=near and (near[0], near[1]), bounds=bounds and (bounds[0], bounds[1], bounds[2], bounds[3]))
