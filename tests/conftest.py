"""What every test shares: few threads, and the real imagery where a checkout has it."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from ray_clusters import TestCluster

# Read when the libraries load, so before any test imports torch, OpenCV or FAISS; children of a test inherit it, and so do the workers of
# pytest-xdist from the process that starts them. Two threads each on two cores wait for one another in loops, and cost six times as much.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# So does Triton, which parts of torch bring along: its kernels run on the CPU. With a GPU: TRITON_INTERPRET=0 pytest tests/kernels/triton
os.environ.setdefault("TRITON_INTERPRET", "1")
# Models of a test are tiny and used once, which no engine pays for; tests of engines say so. The user's own engines stay out of it.
os.environ["GEO_RUNTIME"] = "torch"
_CACHE = tempfile.TemporaryDirectory(prefix="geo-cache-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name


@pytest.fixture(autouse=True)
def smallest_numbers() -> Iterator[None]:
    """Take back that `geo train` flushes the smallest numbers to zero in its process: hypothesis draws them for later tests."""
    yield
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_flush_denormal(False)


@contextmanager
def _room_for(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def room_for() -> Callable[[int], AbstractContextManager[None]]:
    """Return a context in which no file grows past some bytes: as on a full disk, a write ends early and the next one fails."""
    return _room_for


def _unavailable(reason: str) -> NoReturn:
    """Skip what this machine cannot test; in CI, where it must be tested, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def ogrinfo() -> str:
    """Return the system's GDAL, which is another than the one that wrote; without it skip, or fail in CI."""
    return shutil.which("ogrinfo") or _unavailable("GDAL's ogrinfo is not installed (Debian: gdal-bin)")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return Debian's browser; without it skip, or fail in CI."""
    return shutil.which("chromium") or _unavailable("no browser is installed (Debian: chromium)")


@pytest.fixture(scope="session")
def exiftool_path() -> str:
    """Return where ExifTool is; without it skip, or fail in CI."""
    return shutil.which("exiftool") or _unavailable("ExifTool is not installed (Debian: libimage-exiftool-perl)")


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], Path]]:
    """Return a function that gives a folder on a disk of its own, of so many kilobytes, and later another size of the same disk."""
    if os.geteuid() != 0:
        _unavailable("only root may mount a small disk")
    # Outside of pytest's own folders, and unmounted by a child that outlives this process: a disk that a killed run left mounted
    # inside them fails the cleaning of every later run.
    place = Path(tempfile.mkdtemp(prefix="crossgeo-disk-"))
    leave = 'cat; ! mountpoint -q "$0" || umount --lazy "$0"; rmdir "$0"'
    watcher = subprocess.Popen(["sh", "-c", leave, str(place)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)

    def sized(kilobytes: int) -> Path:
        again = "remount," if os.path.ismount(place) else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{again}size={kilobytes}k", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            _unavailable(f"no small disk can be mounted here: {done.stderr.strip()}")
        return place

    yield sized
    watcher.communicate(timeout=60)
    assert watcher.returncode == 0
    assert not place.exists()


@pytest.fixture(scope="session")
def _three_nodes() -> "Iterator[TestCluster]":
    if sys.platform != "linux":
        _unavailable("clusters of tests need Linux")
    from ray_clusters import three_nodes

    with tempfile.TemporaryDirectory(prefix="geo-") as folder, three_nodes(Path(folder)) as cluster:
        yield cluster


@pytest.fixture
def ray_nodes(_three_nodes: "TestCluster") -> "Iterator[TestCluster]":
    """Return a Ray cluster of three nodes of one processor, started once; what a test ends of it is started again."""
    yield _three_nodes
    _three_nodes.restore()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have one of several test processes run all that shares the cluster."""
    for item in items:
        if "ray_nodes" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.fixture(scope="session")
def geo_data() -> Path:
    """Return the folder of real imagery, $GEO_DATA or ../shared/data beside the repository; without it skip, or fail in CI."""
    named = os.environ.get("GEO_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "SOURCES.md").is_file():
        _unavailable(f"no real imagery at {folder}; set GEO_DATA to a folder that holds SOURCES.md")
    return folder
