"""Jobs, one after the other: each photo decoded, put in the queue that all questions stand in, its answer kept and told to who listens."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from crossgeo import disk
from crossgeo.engine.batch.pipeline import record_of
from crossgeo.engine.sequences import Around, SequenceOptions, smooth, to_ask_again, with_objects
from crossgeo.errors import GeoError, InputError, LimitError, LockedError, UsageError
from crossgeo.web.asking import Asker
from crossgeo.web.job import FINISHED, Asked, Job, Record, State
from crossgeo.web.problems import Problem

_LOG = logging.getLogger("crossgeo.web")
_ITEM_ERRORS = (InputError, LimitError, UsageError)  # the photo's own fault; a damaged index ends the job
_HEARTBEAT_S = 15.0
_PROGRESS_S = 0.5
_AGAIN_S = 1.0  # after the queue was full


class Jobs:
    """The jobs of a folder; of one event loop. What was not finished when the process ended is gone on with."""

    def __init__(self, folder: Path, asker: Asker, days: float) -> None:
        """Read the jobs that a folder holds, which is made if it is not there."""
        self._folder, self._asker, self._days = folder, asker, days
        self._jobs: dict[str, Job] = {}
        self._changed = asyncio.Event()  # replaced by another each time something happens
        self._stopping = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._asking: dict[str, set[asyncio.Task[None]]] = {}
        with disk.guarded(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder)
            kept = disk.listing(folder)
        for path in kept:
            if path.name.startswith("new-"):  # an upload that was broken off
                shutil.rmtree(path, ignore_errors=True)
            elif (path / "job.json").is_file():
                try:
                    self._jobs[path.name] = Job.load(path)
                except GeoError as error:
                    _LOG.error("%s", error)

    def start(self) -> None:
        """Begin to answer."""
        self._work = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Ask no more, and end the streams of events; what is being answered is kept."""
        self._stopping.set()
        self._tell()

    async def stopped(self) -> None:
        """Return when what was being answered at `stop` is kept, and leave the folder to others."""
        if self._work is not None:
            await self._work
        self._lock.close()

    def every(self) -> list[Job]:
        """Return the jobs, the newest first."""
        return sorted(self._jobs.values(), key=lambda job: (job.asked.created, job.asked.id), reverse=True)

    def named(self, job_id: str) -> Job:
        """Return a job; raise Problem where there is none of that name."""
        job = self._jobs.get(job_id)
        if job is None:
            raise Problem("not-found", f"there is no job {job_id[:64]}; finished ones are kept for {self._days:g} days")
        return job

    def check_room(self, most: int) -> None:
        """Raise Problem where so many jobs wait already."""
        waiting = sum(job.state not in FINISHED for job in self._jobs.values())
        if waiting >= most:
            raise Problem("busy", f"{waiting} jobs are not finished, which is the limit; wait for some of them", retry_after_s=60)

    def new_folder(self) -> Path:
        """Make a folder for the photos of a job that is being uploaded."""
        folder = self._folder / f"new-{uuid.uuid4().hex}"
        with disk.guarded(folder):
            (folder / "photos").mkdir(parents=True)
        return folder

    def add(self, folder: Path, asked: Asked) -> Job:
        """Take in a job whose photos lie in such a folder."""
        Job.new(folder, asked)
        kept = self._folder / asked.id
        disk.rename(folder, kept)
        job = self._jobs[asked.id] = Job.load(kept)
        self._tell()
        return job

    def cancel(self, job: Job) -> None:
        """Ask no more of a job's photos; what was answered stays."""
        self._finish(job, "cancelled")
        for task in self._asking.get(job.asked.id, ()):
            task.cancel()

    def remove(self, job: Job) -> None:
        """Forget a finished job."""
        del self._jobs[job.asked.id]
        shutil.rmtree(job.folder, ignore_errors=True)
        self._tell()

    async def events(self, job: Job, after: int) -> AsyncIterator[bytes]:
        """Yield a job's server-sent events: what is answered, without the first `after`, how far it is, and its end."""
        sent, told_at, told = after, -_PROGRESS_S, -1
        yield b"retry: 2000\n\n"
        while True:
            changed, finished, done = self._changed, job.state in FINISHED, job.told
            if done > sent:
                for number, record in job.records(sent):
                    sent += 1
                    yield _event("record", {"number": number, "record": record}, sent)
            if told != done and (finished or time.monotonic() - told_at >= _PROGRESS_S):
                told, told_at = done, time.monotonic()
                yield _event("progress", asdict(job.progress), sent)
            if finished:
                yield _event("end", {"state": job.state, "why": job.why}, sent)
                return
            if self._stopping.is_set():
                return  # a client asks again, and goes on where it was
            try:
                await asyncio.wait_for(changed.wait(), _PROGRESS_S if told != done else _HEARTBEAT_S)
            except TimeoutError:
                if told == done:
                    yield b": waiting\n\n"

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._forget_old()
            changed = self._changed
            waiting = [job for job in reversed(self.every()) if job.state not in FINISHED]
            if waiting:
                await self._answer_all(waiting[0])
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), 60.0)

    async def _answer_all(self, job: Job) -> None:
        """Answer a job's photos, as many at once as there are workers, until all are answered or it is to end."""
        try:
            job.state = "running"
            job.save()
            self._tell()
            left = dict.fromkeys(number for number in range(len(job.asked.items)) if number not in job.statuses)
            await self._ask_each(job, left, job.add)
            if job.state in FINISHED or len(job.statuses) < len(job.asked.items):
                return
            if job.asked.sequence is None or await self._follow_drives(job, job.asked.sequence):
                self._finish(job, "done")
        except (GeoError, Problem) as error:
            self._finish(job, "failed", str(error))
        except Exception:
            _LOG.exception("job %s failed", job.asked.id)
            self._finish(job, "failed", "the service has a bug; its log says more")
        finally:
            self._asking.pop(job.asked.id, None)

    async def _ask_each(self, job: Job, around: Mapping[int, Around | None], keep: Callable[[int, Record], None]) -> None:
        """Ask about photos, as many at once as there are workers, and have what comes kept, until the job is to end."""
        todo = iter(around)

        async def work() -> None:
            for number in todo:
                if self._stopping.is_set() or job.state in FINISHED:
                    return
                record = await self._ask(job, number, around[number])
                if record is not None:
                    keep(number, record)
                    self._tell()

        served = self._asker.indexes.named(job.asked.index)
        tasks = {asyncio.create_task(work()) for _ in range(max(1, served.answering.stats().workers))}
        self._asking[job.asked.id] = tasks
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(error, Exception):
                raise error

    async def _follow_drives(self, job: Job, options: SequenceOptions) -> bool:
        """Put photos where their drives lead, and look for the objects of those that move; say whether that was brought to its end."""
        alone = await asyncio.to_thread(job.by_themselves)
        driven = await asyncio.to_thread(smooth, alone, options)
        moved = {number: at for number, at in to_ask_again(alone, driven).items() if job.asked.items[number].points}
        again: dict[int, Record] = {}
        await self._ask_each(job, moved, again.__setitem__)
        if self._stopping.is_set() or job.state in FINISHED:
            return False
        for number, record in enumerate(with_objects(driven, again)):
            if "sequence" in record and number not in job.sequenced:
                job.add(number, record)
        self._tell()
        return True

    async def _ask(self, job: Job, number: int, around: Around | None) -> Record | None:
        """Return a photo's record, looked for around a place where that is given; None where the service stops before it is asked."""
        item, shared = job.asked.items[number], job.asked.options
        if around is not None:
            item, shared = replace(item, near=(around.lat, around.lon), radius_m=around.radius_m), replace(shared, anyway=True)
        photo = None
        while not self._stopping.is_set():
            try:
                photo = await self._asker.photo(item.path, item.name)
                for point in item.points:
                    photo.check_point(point)
                served = self._asker.indexes.named(job.asked.index)
                return record_of(item, photo, await self._asker.answer(served, photo, item.points, item.options(shared)))
            except _ITEM_ERRORS as error:
                return record_of(item, photo, error)
            except Problem as problem:
                if problem.code == "busy":
                    await asyncio.sleep(_AGAIN_S)
                    continue
                if problem.code != "slow":
                    raise
                return record_of(item, photo, LimitError(problem.detail))
            except asyncio.CancelledError:
                return None
        return None

    def _finish(self, job: Job, state: State, why: str | None = None) -> None:
        job.state, job.why, job.finished = state, why, now()
        try:
            job.save()
            shutil.rmtree(job.folder / "photos", ignore_errors=True)
        except GeoError as error:
            _LOG.error("%s", error)
        self._tell()

    def _forget_old(self) -> None:
        for job in self.every():
            if job.finished is not None and time.time() - datetime.fromisoformat(job.finished).timestamp() > self._days * 86_400:
                self.remove(job)


def _locked(folder: Path) -> IO[bytes]:
    """Return the file that keeps other services out of a folder of jobs; raise LockedError where one has it."""
    lock = (folder / "LOCK").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise LockedError(f"{folder}: another service keeps its jobs there; give this one a folder of its own with --jobs") from error
    return lock


def now() -> str:
    """Return the time as jobs write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _event(kind: str, data: Record, number: int) -> bytes:
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n".encode()
