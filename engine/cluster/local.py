"""Work done by processes of this machine; each does one shard at a time, so that it is known which shard a process died of."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self, TypeVar

from crossgeo.engine.cluster import dispatch
from crossgeo.engine.cluster.answer import settle
from crossgeo.engine.cluster.cluster import Actor
from crossgeo.engine.cluster.task import Package, Report
from crossgeo.engine.cluster.work import C, Job, Outcome, P, R, S, Shard
from crossgeo.errors import ClusterError, WorkerDiedError
from crossgeo.processor import processors

T = TypeVar("T")
HERE = "this machine"
_POLL_S = 0.2  # how soon it is seen that an actor died which nobody asks
_LONGEST_S = 5.0  # between starts of an actor that dies before it answers anything


@cache
def gpus_here() -> tuple[str, ...]:
    """Return the GPUs that this process may use, by names that CUDA_VISIBLE_DEVICES takes."""
    import torch

    return tuple(f"GPU-{torch.cuda.get_device_properties(number).uuid}" for number in range(torch.cuda.device_count()))


class Worker:
    """A process that answers one request after another."""

    def __init__(self, threads: int, gpu: str | None = None) -> None:
        """Start a process, one that sees a single GPU where one is named."""
        self.gpu = gpu
        ours, theirs = socket.socketpair()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # what it writes on stderr, wanted only where it dies at once
        # What torch, FAISS and OpenVINO read when they are loaded: all workers together have as many threads as there are processors.
        told = [f"OMP_NUM_THREADS={threads}", *([] if gpu is None else [f"CUDA_VISIBLE_DEVICES={gpu}"])]
        command = ["env", *told, sys.executable, "-P", "-m", "crossgeo.engine.cluster.child", str(theirs.fileno())]
        nowhere = subprocess.DEVNULL
        try:  # in a session of its own: Ctrl-C is for the caller, who then ends it
            self._process = subprocess.Popen(
                command, stdin=nowhere, stdout=nowhere, stderr=self._said, pass_fds=[theirs.fileno()], start_new_session=True
            )
        except OSError as error:
            ours.close()
            self._said.close()
            raise ClusterError(f"no process can be started to work ({error.strerror or error}); close other programs") from error
        finally:
            theirs.close()
        self.pipe = Connection(ours.detach())
        self.pid = self._process.pid
        self._there, self._ended = False, ""
        self._answered: bytes | None = None  # what has come and was not asked for yet; b"" is the end
        self.begun: float | None = None  # since when it is at its request, its state made
        self.send(list(sys.path), HERE)

    def send(self, *message: Any) -> None:
        """Send a message; a process that is gone is noticed when its answer is awaited."""
        data = pickle.dumps(message, protocol=5)
        with suppress(OSError):
            self.pipe.send_bytes(data)

    def answer(self) -> Report | None:
        """Wait for the answer; None where the process died, ClusterError where it never came to work at all."""
        while self._answered is None:
            self._hear()
        data, self._answered, self.begun = self._answered, None, None
        if not data:
            if not self._there and self._process.wait() > 0:
                raise ClusterError(f"{HERE}: no process can be started to work: {self.end()}")
            return None
        report: Report = pickle.loads(data)
        return report

    def answers(self) -> bool:
        """Return whether there is an answer, or the end of the process, to be had from `answer`."""
        while self._answered is None and self.pipe.poll():
            self._hear()
        return self._answered is not None

    def _hear(self) -> None:
        """Take one message; empty ones say that the process is there, then that it begins with what it was asked."""
        try:
            data = self.pipe.recv_bytes()
        except (EOFError, OSError):
            self._answered = b""
            return
        if data:
            self._answered = data
        elif self._there:
            self.begun = time.monotonic()
        self._there = True

    def end(self, gone: bool = False) -> str:
        """End the process and say how it ended; `gone`: it has ended by itself, or is about to."""
        if self._ended:
            return self._ended
        if gone:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5.0)
        self._process.kill()
        code = self._process.wait()
        self.pipe.close()
        self._said.seek(0)
        said = self._said.read()[-2000:].decode(errors="replace").strip().splitlines()
        self._said.close()
        if code < 0:
            self._ended = f"{signal.Signals(-code).name}{': it may lack memory' if code == -signal.SIGKILL else ''}"
        else:
            self._ended = f"exit code {code}{f', {said[-1]}' if said else ''}"
        return self._ended


class LocalCluster:
    """Processes of this machine behind `Cluster`."""

    def __init__(self, workers: int | None = None) -> None:
        self._count = workers or processors()
        self._threads = max(1, processors() // self._count)
        self._idle: list[Worker] = []
        self._running: set[Worker] = set()
        self._actors: list[LocalActor] = []
        self._lock = threading.Lock()

    @property
    def label(self) -> str:
        """Return how many processes there are."""
        return f"{self._count} process{'es' if self._count > 1 else ''} here"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return nothing: there is nobody else here."""
        return ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for actor in self._actors:
            actor.close()
        with self._lock:
            ending = [*self._idle, *self._running]
            self._idle, self._running = [], set()
        for worker in ending:
            worker.end()

    def workers(self, job: Job[C, S, P, R]) -> int:
        """Return how many processes there are: one for each GPU where the job needs one."""
        return min(self._count, len(gpus_here())) if job.gpus else self._count

    def run(
        self, job: Job[C, S, P, R], shards: Iterable[Shard[P] | None], stop: threading.Event | None = None
    ) -> Generator[Outcome[P, R], None, None]:
        """Do all shards, as `Cluster.run` says; ClusterError for a job on GPUs where there is none."""
        if self.workers(job) == 0:
            raise ClusterError(f"{HERE} has no GPU to {job.name} with; give --device cpu")
        return dispatch.run(job, shards, _LocalPool(self, job, Package.of_job(job)), stop)

    def actor(
        self,
        setup: Callable[[C], Any],
        context: C,
        *,
        name: str,
        cpus: float = 1.0,
        gpus: float = 0.0,
        memory_bytes: int = 0,
        apart_from: Sequence[Actor] = (),
    ) -> Actor:
        """Start a process for an actor; there is no other node than this."""
        actor = LocalActor(Package.of(setup, None, context), name, max(1, round(cpus)))
        with self._lock:
            self._actors = [*(one for one in self._actors if not one.closed), actor]
        return actor

    def room(self, job: Job[Any, Any, Any, Any]) -> int:
        """Return how many more processes may work for a job now."""
        with self._lock:
            return self.workers(job) - len(self._running)

    def take(self, job: Job[Any, Any, Any, Any]) -> Worker:
        """Return a process that is idle, or a new one; where a job needs a GPU, one that has one for itself."""
        with self._lock:
            worker = next((idle for idle in self._idle if (idle.gpu is not None) == bool(job.gpus)), None)
            if worker is not None:
                self._idle.remove(worker)
            taken = {other.gpu for other in (*self._idle, *self._running)}
        if worker is None:
            gpu = next(gpu for gpu in gpus_here() if gpu not in taken) if job.gpus else None
            worker = Worker(self._threads, gpu)
        with self._lock:
            self._running.add(worker)
        return worker

    def give(self, worker: Worker) -> None:
        """Take a process back that has answered."""
        with self._lock:
            self._running.discard(worker)
            self._idle.append(worker)

    def drop(self, worker: Worker, gone: bool = False) -> str:
        """End a process, if it has not ended by itself (`gone`), and say how it ended."""
        with self._lock:
            self._running.discard(worker)
        return worker.end(gone)


class _LocalPool:
    """The processes that work for one job."""

    def __init__(self, cluster: LocalCluster, job: Job[Any, Any, Any, Any], package: Package) -> None:
        self._cluster, self._job, self._package = cluster, job, package
        self._working: dict[int, Worker] = {}

    def room(self) -> int:
        return self._cluster.room(self._job)

    def start(self, number: int, shard: Shard[Any], avoid: frozenset[str]) -> None:
        worker = self._working[number] = self._cluster.take(self._job)
        worker.send("perform", self._package, shard.payload)

    def ended(self, timeout_s: float) -> list[dispatch.End]:
        wait([worker.pipe for worker in self._working.values()], timeout_s)
        return [self._end(number, worker) for number, worker in list(self._working.items()) if worker.answers()]

    def cancel(self, number: int) -> None:
        if (worker := self._working.pop(number, None)) is not None:
            self._cluster.drop(worker)

    def others(self, nodes: frozenset[str]) -> bool:
        return False

    def places(self, numbers: Iterable[int]) -> dict[int, dispatch.Place]:
        return {number: dispatch.Place(HERE, self._working[number].begun) for number in numbers if number in self._working}

    def _end(self, number: int, worker: Worker) -> dispatch.End:
        del self._working[number]
        report = worker.answer()
        if report is None:
            return dispatch.End(number, HERE, why=self._cluster.drop(worker, gone=True))
        self._cluster.give(worker)
        return dispatch.End(number, HERE, report)


class LocalActor:
    """An actor in a process of its own, and the thread that asks it."""

    def __init__(self, package: Package, name: str, threads: int) -> None:
        self._package, self._name, self._threads = package, name, threads
        self._calls: queue.SimpleQueue[tuple[bytes, Future[Any]]] = queue.SimpleQueue()
        self._worker: Worker | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._answer, name=name, daemon=True)
        self._thread.start()

    @property
    def node(self) -> str:
        """Return this machine."""
        return HERE

    @property
    def closed(self) -> bool:
        """Return whether it was ended."""
        return self._ended.is_set()

    @property
    def pid(self) -> int | None:
        """Return its process, None while there is none."""
        worker = self._worker
        return None if worker is None else worker.pid

    def call(self, do: Callable[..., T], *args: Any) -> Future[T]:
        """Ask, as `Actor.call` says."""
        future: Future[T] = Future()
        with self._lock:
            if self._ended.is_set():
                future.set_exception(self._gone("was closed"))
            else:
                self._calls.put((pickle.dumps((do, args), protocol=5), future))
        return future

    def close(self) -> None:
        """End the process and whatever waits for it."""
        with self._lock:
            if self._ended.is_set():
                return
            self._ended.set()
            if self._worker is not None:  # not yet waited for, or its number might be another program's by now
                with suppress(ProcessLookupError):
                    os.kill(self._worker.pid, signal.SIGKILL)
        self._thread.join()
        self._refuse(self._gone("was closed"))

    def _gone(self, how: str) -> WorkerDiedError:
        return WorkerDiedError(f"{HERE}: {self._name} {how} before it answered")

    def _answer(self) -> None:
        """Start the process, again whenever it died or could not be started, and pass calls on to it."""
        failures = 0
        while not self._ended.is_set():
            failures = 0 if self._live() else failures + 1
            self._ended.wait(min(_LONGEST_S, 0.05 * 2 ** min(failures, 9)) if failures else 0.0)

    def _live(self) -> bool:
        """Have a process until it ends; return whether it has answered anything."""
        try:
            worker = self._begin()
        except (ClusterError, OSError) as error:
            self._refuse(error if isinstance(error, ClusterError) else _unstarted(error))
            return False
        if worker is None:
            return False
        try:
            return self._pass_on(worker)
        finally:
            with self._lock:
                self._worker = None
            worker.end()

    def _refuse(self, error: ClusterError) -> None:
        """End with an error what waits."""
        with suppress(queue.Empty):
            while True:
                _, future = self._calls.get_nowait()
                if future.set_running_or_notify_cancel():
                    future.set_exception(error)

    def _pass_on(self, worker: Worker) -> bool:
        """Pass calls on until the process died or is to end; return whether it has answered any."""
        answered = False
        while (call := self._next(worker)) is not None:
            body, future = call
            if not future.set_running_or_notify_cancel():
                continue
            worker.send("call", body)
            try:
                report = worker.answer()
            except ClusterError as error:
                future.set_exception(error)
                break
            if report is None:
                future.set_exception(self._gone("was closed" if self._ended.is_set() else "died"))
                break
            answered = True
            settle(future, report, HERE, self._name)
        return answered

    def _next(self, worker: Worker) -> tuple[bytes, Future[Any]] | None:
        """Return the next call; None where the process died meanwhile, so that it is back before somebody asks."""
        while not self._ended.is_set():
            try:
                return self._calls.get(timeout=_POLL_S)
            except queue.Empty:
                if worker.answers():  # nothing was asked, so it ended
                    return None
        return None

    def _begin(self) -> Worker | None:
        with self._lock:
            if self._ended.is_set():
                return None
            worker = self._worker = Worker(self._threads)
        worker.send("host", self._package)
        return worker


def _unstarted(error: OSError) -> ClusterError:
    return ClusterError(f"no process can be started to work ({error.strerror or error}); close other programs")
