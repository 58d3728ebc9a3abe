"""A batch over a thousand photos of a town, killed with SIGKILL at random moments: whether what comes out is what an unbroken run gives.

python benchmarks/batch_kill.py [--photos 1000] [--kills 10] [--seed 0] [--work DIR] [--cluster local|ray]

The town is made, and indexed by the stand-in model of the tests (colours of a grid, no training), so that a thousand answers take
minutes; everything else is what `geo batch` runs: processes that decode, two workers, the journal, and all seven formats at once. One photo
in fifty is no photo: cut short, empty, text, or a picture of 400 megapixels. Answers are compared but for `timings_ms`, tables but for the
column `answer` that has them again, CSV, KML and GPX byte by byte. Recorded as results/batch-kill.json; the exit code is 1 where
anything differs.

With --cluster the killed runs are answered by two workers of this machine, or of a Ray cluster of three nodes that is started for it, and
every second kill is of one of these instead of the driver, which goes on; the run that nobody kills is still that of one process. Recorded
as results/batch-kill-local.json or batch-kill-ray.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pyogrio
from common import record

from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.town.camera import Camera
from crossgeo.town.write import write_town

HELPERS = Path(__file__).parents[1] / "tests" / "helpers"
sys.path.append(str(HELPERS))
import standin  # noqa: E402
from ray_clusters import three_nodes  # noqa: E402

ASKING = str(HELPERS / "asking.py")
MARK = "BATCH_KILL"  # in the environment of all that this starts, so that nobody else's workers are killed
FORMATS = ("jsonl", "geojson", "gpkg", "parquet", "csv", "kml", "gpx")
TOWN, SIZE_M = 9_100, 240.0
LATEST_S = 0.3  # between a photo's answer and the kill
EVERY = 50  # photos, of which one is broken


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--cluster", choices=("local", "ray"))
    args = parser.parse_args()
    os.environ[MARK] = str(os.getpid())
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=args.work) as made, on_cluster(args.cluster) as way:
        folder = Path(made).absolute()
        prepare(folder, args.photos)
        prepared_s = time.monotonic() - began
        whole_s = run(folder, "whole")
        rng = random.Random(args.seed)
        moments = sorted(rng.sample(range(1, args.photos), args.kills))
        kills = Kills(folder, way)
        for number, moment in enumerate(moments):
            kills.one(moment, rng.uniform(0.0, LATEST_S), rng if args.cluster and number % 2 else None)
        kills.end()
        lines = [json.loads(line) for line in (folder / "killed.jsonl.partial.jsonl").read_bytes().splitlines(keepends=True)[1:-1]]
        last_s = run(folder, "killed", way)
        same = {suffix: content(folder / f"killed.{suffix}") == content(folder / f"whole.{suffix}") for suffix in FORMATS}
        rows = content(folder / "whole.jsonl")
        left = sorted(path.name for path in folder.iterdir() if path.name.startswith("killed") and path.suffix[1:] not in FORMATS)
        answered = [entry["key"] for entry in lines if "record" in entry and "error" not in entry["record"]]
    record(
        "batch-kill" if args.cluster is None else f"batch-kill-{args.cluster}",
        {
            "what": "geo batch by a stand-in model over a town's photos, killed at random moments",
            "photos": len(rows), "statuses": {name: [row.get("status", "error") for row in rows].count(name) for name in
            ("located", "ambiguous", "low_confidence", "outside_coverage", "error")},
            "kills": kills.done, "answered_twice": len(answered) - len(set(answered)), "same": same, "left_behind": left,
            "seconds": {"prepared": round(prepared_s), "unbroken": round(whole_s), "after_the_last_kill": round(last_s)},
        },
    )  # fmt: skip
    return int(not all(same.values()) or bool(left) or len(rows) != args.photos)


def prepare(folder: Path, photos: int) -> None:
    """Make the town, its index and its photos, some of them broken."""
    write_town(folder / "town", TOWN, SIZE_M, photos, objects_per_photo=0, camera=Camera(70.0, 200, 150))
    shared = standin.shared()
    describer = shared.ColourDescriber()
    options = BuildOptions(gsd_m=shared.GSD_M, tile_px=96)
    build_index([folder / "town" / "ortho.tif"], folder / "town.geo", describer.tiles, describer.identity, options)
    for number, path in enumerate(sorted((folder / "town" / "photos").iterdir())[::EVERY]):
        path.write_bytes((path.read_bytes()[:700], b"", b"no photo", bomb())[number % 4])


def bomb() -> bytes:
    """The head of a PNG of 20,000 x 20,000 px."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@dataclass(frozen=True)
class Way:
    """How a batch is started: by what, and with which options."""

    start: Callable[[Sequence[str]], subprocess.Popen[Any]] = subprocess.Popen
    told: tuple[str, ...] = ()


@contextmanager
def on_cluster(name: str | None) -> Iterator[Way]:
    """Give how a batch is started that the workers of a cluster answer, which is there as long."""
    if name == "ray":
        with tempfile.TemporaryDirectory(prefix="geo", dir="/tmp") as short, three_nodes(Path(short)) as cluster:  # Ray has sockets there
            yield Way(cluster.start, ("--cluster", cluster.address))
    else:
        yield Way(told=() if name is None else ("--cluster", name))


def start(folder: Path, name: str, way: Way) -> subprocess.Popen[Any]:
    """Start a batch that writes every format."""
    outs = [str(folder / f"{name}.{suffix}") for suffix in FORMATS]
    return way.start([sys.executable, ASKING, str(folder / "town.geo"), str(folder / "town" / "photos"), *outs, "--exif", *way.told])


def run(folder: Path, name: str, way: Way | None = None) -> float:
    """Run a batch to its end; return its seconds."""
    began = time.monotonic()
    if (code := start(folder, name, way or Way()).wait()) != 0:
        raise SystemExit(f"the batch {name} ended with code {code}")
    return time.monotonic() - began


class Kills:
    """A batch that is killed again and again, and goes on."""

    def __init__(self, folder: Path, way: Way) -> None:
        self.done: list[dict[str, Any]] = []
        self._folder, self._way = folder, way
        self._journal = folder / "killed.jsonl.partial.jsonl"
        self._child: subprocess.Popen[Any] | None = None

    def one(self, moment: int, later_s: float, of_workers: random.Random | None = None) -> None:
        """Kill the batch or, of a cluster, one of its workers, some time after so many of its photos are answered."""
        child = self._child = self._child or start(self._folder, "killed", self._way)
        while child.poll() is None and answered(self._journal) < moment:
            time.sleep(0.05)
        time.sleep(later_s)
        about = {"after": moment, "seconds_later": round(later_s, 3)}
        if of_workers is not None:
            self.done.append({**about, "of": "worker", "there": kill_worker(of_workers), "answered": answered(self._journal)})
            return
        self.end()
        torn = not self._journal.read_bytes().endswith(b"\n")
        self.done.append({**about, "of": "driver", "answered": answered(self._journal), "torn_line": torn, "code": child.returncode})

    def end(self) -> None:
        """Kill the batch, if it still runs."""
        if self._child is not None:
            for pid in marked(lambda words: words[0] == sys.executable.encode() and ASKING.encode() in words):
                os.kill(pid, signal.SIGKILL)
            self._child.wait()
            self._child = None


def kill_worker(rng: random.Random) -> bool:
    """Kill one of the workers of our clusters, if one is there."""
    found = sorted(marked(works))
    if found:
        with suppress(ProcessLookupError):  # it ended by itself
            os.kill(rng.choice(found), signal.SIGKILL)
    return bool(found)


def works(words: list[bytes]) -> bool:
    """Return whether a process is a worker of `local` or of Ray that has something to do."""
    return b"crossgeo.engine.cluster.child" in words or (words[0].startswith(b"ray::") and b"IDLE" not in words[0])


def marked(fits: Callable[[list[bytes]], bool]) -> Iterator[int]:
    """Give the processes of this benchmark, and of no other, whose words of command fit."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is another user's
            words, around = ((folder / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
            if f"{MARK}={os.environ[MARK]}".encode() in around and fits(words):
                yield int(folder.name)


def answered(journal: Path) -> int:
    """Return how many photos have an answer, not an error, or are broken and tried."""
    if not journal.exists():
        return 0
    lines = journal.read_bytes().splitlines(keepends=True)[1:]
    return len({json.loads(line)["key"] for line in lines if line.endswith(b"\n") and b'"record"' in line})


def content(path: Path) -> Any:
    """Return what a file holds, without what two equal questions differ in."""
    if path.suffix == ".jsonl":
        return [{name: value for name, value in json.loads(line).items() if name != "timings_ms"} for line in path.read_text().splitlines()]
    if path.suffix == ".geojson":
        document = json.loads(path.read_text())
        for feature in document["features"]:
            feature["properties"].pop("timings_ms", None)
        return document
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return table.drop_columns("answer").to_pydict(), pq.read_metadata(path).metadata[b"geo"]
    if path.suffix == ".gpkg":
        out = {}
        for layer in ("places", "objects", "errors"):
            meta, _, shapes, columns = pyogrio.raw.read(path, layer=layer)
            named = {str(name): [str(value) for value in column] for name, column in zip(meta["fields"], columns, strict=True)}
            named.pop("answer", None)
            out[layer] = (named, None if shapes is None else list(shapes))
        return out
    return path.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
