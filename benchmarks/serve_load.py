"""The service under load: many clients at once, then hostile ones beside good ones; errors, latencies, throughput, memory, open files.

    python benchmarks/serve_load.py --index town.geo --photos town/photos

Photos say where a drone took them, and are asked about as such (heading given, places within 50 m of the photo's own position).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
from common import record

from crossgeo.engine.photo import Photo

RADIUS_M = 50.0
SAMPLE_S = 5.0
KIND = b"Content-Type: multipart/form-data; boundary=x\r\n"


@dataclass(frozen=True)
class Question:
    """A photo, as it is asked about."""

    name: str
    file: bytes
    fields: dict[str, str]

    @classmethod
    def of(cls, path: Path) -> Question:
        """Ask about a photo with what its EXIF says of heading and position."""
        exif = Photo.read(path).exif
        heading = {} if exif.heading_deg is None else {"heading_deg": f"{exif.heading_deg:.2f}"}
        return cls(path.name, path.read_bytes(), {**heading, "use_exif_position": "true", "radius_m": str(RADIUS_M)})


@dataclass
class Load:
    """What clients saw."""

    latencies_s: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    took_s: float = 0.0
    answers: dict[str, Any] = field(default_factory=dict)
    changed: int = 0  # answers that were not those of the same photo before

    def add(self, question: Question, status: str, took_s: float, answer: dict[str, Any] | None) -> None:
        """Count one answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if answer is None:
            return
        self.latencies_s.append(took_s)
        answer = {key: value for key, value in answer.items() if key != "timings_ms"}
        self.changed += self.answers.setdefault(question.name, answer) != answer

    def report(self) -> dict[str, Any]:
        """Return it in numbers."""
        ordered = sorted(self.latencies_s)
        quantiles = {f"p{share}_s": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 3) for share in (50, 90, 99)}
        return {
            "questions": sum(self.statuses.values()), "statuses": self.statuses, "took_s": round(self.took_s, 1),
            "per_s": round(len(ordered) / self.took_s, 3), "mean_s": round(statistics.fmean(ordered), 3), **quantiles,
            "answers_that_changed": self.changed,
        }  # fmt: skip


class Service:
    """`geo serve` as a process."""

    def __init__(self, index: Path, workers: int | None) -> None:
        self._jobs = tempfile.TemporaryDirectory(prefix="serve-load-")
        command = [sys.executable, "-m", "crossgeo", "serve", str(index), "--port", "0", "--rate", "0", "--jobs", self._jobs.name]
        command += [] if workers is None else ["--workers", str(workers)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.address = next(found[0] for line in self.process.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        self.port = int(self.address.rsplit(":", 1)[1])
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def usage(self) -> dict[str, float]:
        """Return the process's memory, open files and processor time, and those of its decoders."""
        own = f"/proc/{self.process.pid}"
        threads = [path.name for path in Path(f"{own}/task").iterdir()]
        children = [child for thread in threads for child in Path(f"{own}/task/{thread}/children").read_text().split()]
        page = os.sysconf("SC_PAGE_SIZE")
        return {
            "rss_mb": int(Path(f"{own}/statm").read_text().split()[1]) * page / 1e6,
            "files": sum(1 for _ in Path(f"{own}/fd").iterdir()),
            "threads": len(threads),
            "decoders_rss_mb": sum(int(Path(f"/proc/{child}/statm").read_text().split()[1]) * page / 1e6 for child in children),
            "load_average": os.getloadavg()[0],
        }

    def ask(self, question: Question, load: Load, client: httpx.Client) -> None:
        """Ask one question and count its answer."""
        began = time.perf_counter()
        try:
            answer = client.post(
                self.address + "/v1/locate", files={"photo": (question.name, question.file)}, data=question.fields, timeout=900
            )
            load.add(question, str(answer.status_code), time.perf_counter() - began, answer.json() if answer.status_code == 200 else None)
        except httpx.HTTPError as error:
            load.add(question, type(error).__name__, 0.0, None)

    def stop(self) -> float:
        """Stop it as SIGTERM does, and return how long that took."""
        began = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(120) == 0
        self._jobs.cleanup()
        return time.perf_counter() - began


def ask_for(service: Service, questions: Sequence[Question], clients: int, seconds: float, known: dict[str, Any] | None = None) -> Load:
    """Have clients ask, each the next question as soon as it has an answer, for so long."""
    load, lock, until = Load(answers=dict(known or {})), threading.Lock(), time.monotonic() + seconds
    numbers = iter(range(1_000_000))

    def work() -> None:
        with httpx.Client() as client:
            while time.monotonic() < until:
                with lock:
                    number = next(numbers)
                service.ask(questions[number % len(questions)], load, client)

    began = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.took_s = time.monotonic() - began
    return load


def ask_at_rate(service: Service, questions: Sequence[Question], per_s: float, seconds: float, known: dict[str, Any]) -> Load:
    """Ask at random moments, so many questions a second on average, whether or not earlier ones are answered."""
    load, rng, threads, began = Load(answers=dict(known)), random.Random(1), [], time.monotonic()
    moment, number = 0.0, 0

    def one(question: Question) -> None:
        with httpx.Client() as client:
            service.ask(question, load, client)

    while (moment := moment + rng.expovariate(per_s)) < seconds:
        time.sleep(max(0.0, began + moment - time.monotonic()))
        threads.append(threading.Thread(target=one, args=(questions[number % len(questions)],)))
        threads[-1].start()
        number += 1
    for thread in threads:
        thread.join()
    load.took_s = time.monotonic() - began
    return load


class Watch:
    """What the process takes, every few seconds while a block runs."""

    def __init__(self, service: Service) -> None:
        self.samples: list[dict[str, float]] = []
        self._service, self._stop = service, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            with suppress(OSError):  # a decoder that just ended
                self.samples.append(self._service.usage())

    def report(self) -> dict[str, Any]:
        """Return the medians of the second and the last fifth: the first one fills caches."""
        fifth = max(1, len(self.samples) // 5)
        early, late = self.samples[fifth : 2 * fifth], self.samples[-fifth:]
        out: dict[str, Any] = {"samples": len(self.samples)}
        for name in ("rss_mb", "files", "threads", "decoders_rss_mb", "load_average"):
            values = [statistics.median(sample[name] for sample in part) for part in (early, late)]
            out[name] = {"second_fifth": round(values[0], 1), "last_fifth": round(values[1], 1), "most": max(s[name] for s in self.samples)}
        return out


class Attack:
    """Hostile clients, in a process of their own so as to take little of this one; ended with the block."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen([sys.executable, __file__, "--attack", str(port)], stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Attack:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        told, _ = self._process.communicate(timeout=60)
        self.done = json.loads(told.splitlines()[-1])


async def attack(port: int) -> dict[str, int]:
    """Trickle, idle, leave, lie and send bombs until interrupted; return how often each was done."""
    done: dict[str, int] = {}
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    head = b"POST /v1/locate HTTP/1.1\r\nHost: 127.0.0.1\r\n" + KIND
    part = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n'
    bomb = part + b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x32\xc8\0\0\x32\xc8\x08\0\0\0\0" + b"\0" * 4000 + b"\r\n--x--\r\n"

    async def client(name: str, first: bytes, piece: bytes, pause_s: float, stays_s: float) -> None:
        while not stop.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                done[name] = done.get(name, 0) + 1
                writer.write(first)
                until = time.monotonic() + stays_s
                while time.monotonic() < until and not stop.is_set() and not reader.at_eof():
                    if piece:
                        writer.write(piece)
                        await writer.drain()
                    await asyncio.sleep(pause_s)
                writer.transport.abort()
            except OSError:
                await asyncio.sleep(0.2)

    length = b"Content-Length: %d\r\n\r\n"
    ways: list[tuple[int, str, bytes, bytes, float, float]] = [
        (300, "idle", b"", b"", 5.0, 60.0),
        (50, "trickled headers", b"GET /v1/indexes HTTP/1.1\r\n", b"X: y\r\n", 1.0, 60.0),
        (50, "trickled body", head + length % 1_000_000 + part, b"-", 1.0, 60.0),
        (10, "left in mid-upload", head + length % 1_000_000 + part + b"\0" * 50_000, b"", 0.5, 0.5),
        (5, "too large", head + length % 10_000_000_000, b"\0" * 1000, 0.5, 2.0),
        (2, "bomb", head + length % len(bomb) + bomb, b"", 2.0, 2.0),
        (5, "no HTTP", b"\x16\x03\x01" * 100 + b"\r\n\r\n", b"", 0.5, 0.5),
    ]
    tasks = [asyncio.create_task(client(*way)) for count, *way in ways for _ in range(count)]
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return done


def growth(report: dict[str, Any]) -> dict[str, float]:
    """Return by how much memory and open files grew from the second to the last fifth."""
    return {name: round(report[name]["last_fifth"] - report[name]["second_fifth"], 1) for name in ("rss_mb", "files", "threads")}


def measure(arguments: argparse.Namespace) -> None:
    """Measure, and write the record."""
    paths = sorted(path for path in arguments.photos.iterdir() if path.suffix == ".jpg")
    questions = [Question.of(path) for path in paths]
    service = Service(arguments.index, arguments.workers)
    say: Callable[[str], None] = lambda text: print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)  # noqa: E731
    try:
        say("warming")
        first = ask_for(service, questions, 2, arguments.warm_s)
        say("one request at a time")
        alone = ask_for(service, questions, 1, arguments.serial_s, first.answers)
        say(f"{arguments.clients} clients")
        with Watch(service) as watch:
            full = ask_for(service, questions, arguments.clients, arguments.minutes * 60, alone.answers)
        say("half of that rate")
        per_s = len(full.latencies_s) / full.took_s / 2
        half = ask_at_rate(service, questions, per_s, arguments.half_s, full.answers)
        say(f"{arguments.clients // 2} clients")
        fewer = ask_for(service, questions, arguments.clients // 2, arguments.half_s, full.answers)
        say("one request at a time again")
        again = ask_for(service, questions, 1, arguments.serial_s, full.answers)
        say("four good clients")
        good = ask_for(service, questions, 4, arguments.hostile_s, full.answers)
        say("and hostile ones")
        with Watch(service) as attacked, Attack(service.port) as hostile:
            time.sleep(3)
            beside = ask_for(service, questions, 4, arguments.hostile_s, full.answers)
        say("and without them again")
        after = ask_for(service, questions, 4, arguments.hostile_s / 2, full.answers)
        usage = service.usage()
    finally:
        stopped_s = service.stop()
    serial = statistics.fmean([alone.report()["per_s"], again.report()["per_s"]])
    reports = {name: load.report() for name, load in (("alone", alone), ("alone_again", again), ("full", full), ("half_rate", half),
                                                       ("half_clients", fewer), ("good", good), ("good_beside_hostile", beside),
                                                       ("good_after", after))}  # fmt: skip
    quiet = statistics.fmean([reports["good"]["p99_s"], reports["good_after"]["p99_s"]])
    record(
        "serve-load",
        {
            "what": f"small preset, {len(questions)} photos of a simulated town with heading and position, {arguments.clients} clients",
            "contention": "other work ran on the same two cores; load_average says how much" if arguments.contended else None,
            "threads_of_torch": os.environ.get("OMP_NUM_THREADS"),
            "loads": reports,
            "process_at_full_load": watch.report(),
            "growth_at_full_load": growth(watch.report()),
            "process_under_attack": attacked.report(),
            "hostile_clients": hostile.done,
            "process_at_the_end": usage,
            "stopped_s": round(stopped_s, 2),
            "bars": {
                "errors": sum(count for load in reports.values() for status, count in load["statuses"].items() if status != "200"),
                "answers_that_changed": sum(load["answers_that_changed"] for load in reports.values()),
                "throughput_over_one_at_a_time": round(reports["full"]["per_s"] / serial, 2),
                "p99_over_p50_at_half_the_rate": round(reports["half_rate"]["p99_s"] / reports["half_rate"]["p50_s"], 2),
                "p99_over_p50_at_half_the_clients": round(reports["half_clients"]["p99_s"] / reports["half_clients"]["p50_s"], 2),
                "p99_at_full_over_p50_at_half_the_clients": round(reports["full"]["p99_s"] / reports["half_clients"]["p50_s"], 2),
                "good_p99_beside_hostile_over_quiet": round(reports["good_beside_hostile"]["p99_s"] / quiet, 2),
            },
        },
    )


def main() -> None:
    """Read the arguments and measure, or attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--photos", type=Path, help="drone photos of that town, with EXIF")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=None)
    for name, seconds in (("warm", 60.0), ("serial", 60.0), ("half", 120.0), ("hostile", 90.0)):
        parser.add_argument(f"--{name}-s", type=float, default=seconds)
    parser.add_argument("--contended", action="store_true", help="say in the record that the machine was not idle")
    parser.add_argument("--attack", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the service is stopped, too
    if arguments.attack:
        print(json.dumps(asyncio.run(attack(arguments.attack))))
        return
    if arguments.index is None or arguments.photos is None:
        parser.error("give --index and --photos")
    measure(arguments)


if __name__ == "__main__":
    main()
