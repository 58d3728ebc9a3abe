"""A job on disk: a folder with what was asked, the photos until they are answered, and the answers, a line each as they come.

job.json        what was asked, and the state it was left in
photos/000000   an upload, as it came; the photos go once the job is finished
answers.jsonl   {"number": n, "record": ...} for photo n; a last line that was cut short is dropped. Where photos of drives were looked at
                together, a second line has what became of n then (its record has `sequence`), and counts instead of the first
results.csv     and objects.csv and the like: what somebody asked for, in that format
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
from crossgeo.engine.sequences import SequenceOptions
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
    sequence: SequenceOptions | None = None  # photos of drives are looked at together once all are answered


@dataclass
class Job:
    """One job and how far it is; of one event loop."""

    folder: Path
    asked: Asked
    state: State = "queued"
    finished: str | None = None
    why: str | None = None  # it failed
    tally: Tally = field(default_factory=Tally)
    statuses: dict[int, str] = field(default_factory=dict)  # of the photos that are answered
    sequenced: set[int] = field(default_factory=set)  # photos whose second line is there

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
            drives = data.get("sequence")
            sequence = None if drives is None else SequenceOptions(**drives)
            asked = Asked(data["id"], data["index"], data["created"], _options(data["options"]), items, sequence)
            job = cls(folder, asked, data["state"], data["finished"], data["why"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}: is no job of this program ({error}); delete its folder") from error
        job._drop_torn_line()
        for number, record in job.records():
            job._count(number, record, resumed=True)
        return job

    def save(self) -> None:
        """Write its state."""
        items = [{key: value for key, value in asdict(item).items() if key not in ("path", "fault")} for item in self.asked.items]
        data = {
            "version": VERSION, "id": self.asked.id, "index": self.asked.index, "created": self.asked.created, "state": self.state,
            "finished": self.finished, "why": self.why, "options": asdict(self.asked.options), "items": items,
            "sequence": None if self.asked.sequence is None else asdict(self.asked.sequence),
        }  # fmt: skip
        disk.write(self.folder / "job.json", json.dumps(data).encode())

    def add(self, number: int, record: Record) -> None:
        """Keep the answer of a photo, or what became of it with its drive; it survives the process from here on."""
        line = json.dumps({"number": number, "record": record}, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with disk.guarded(self.answers), self.answers.open("ab") as file:
            file.write(line)
        self._count(number, record)

    def records(self, after: int = 0) -> Iterator[tuple[int, Record]]:
        """Yield photos' numbers and records in the order in which they came, without the first `after`."""
        if not self.answers.exists():
            return
        with self.answers.open("rb") as file:
            for count, line in enumerate(file):
                if count >= after and line.endswith(b"\n"):
                    entry = json.loads(line)
                    yield entry["number"], entry["record"]

    def in_order(self) -> Iterator[Record]:
        """Yield the records in the photos' order, each as it came last."""
        if not self.answers.exists():
            return
        places: dict[int, int] = {}
        with self.answers.open("rb") as file:
            while line := file.readline():
                places[json.loads(line)["number"]] = file.tell() - len(line)
            for number in sorted(places):
                file.seek(places[number])
                yield json.loads(file.readline())["record"]

    def by_themselves(self) -> list[Record]:
        """Return the records of a job whose photos are all answered, in their order, each as it is without its drive."""
        first: dict[int, Record] = {}
        for number, record in self.records():
            first.setdefault(number, record)
        return [first[number] for number in range(len(self.asked.items))]

    @property
    def told(self) -> int:
        """How many records came so far, those that came a second time with their drive counted again."""
        return len(self.statuses) + len(self.sequenced)

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

    def _count(self, number: int, record: Record, resumed: bool = False) -> None:
        before, status = self.statuses.get(number), status_of(record)
        if before is None:
            self.tally.add(status, resumed)
        else:
            self.tally.change(before, status)
            self.sequenced.add(number)
        self.statuses[number] = status

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
