"""A small city for the command line: imagery, untrained weights, an index, a photo; made once and shared by all test workers."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import Affine, from_origin
from typer.testing import CliRunner, Result

from crossgeo.cli import app

GSD_M = 0.25
WEST, NORTH = 363_000.0, 3_057_600.0  # in EPSG:32645
SIDE_PX = 480  # 120 m: tiles of 60 m fit nine ways, 30 m apart


@dataclass(frozen=True)
class City:
    """Paths of what every test may read and none may change."""

    folder: Path

    @property
    def ortho(self) -> Path:
        return self.folder / "ortho.tif"

    @property
    def photo(self) -> Path:
        return self.folder / "photo.jpg"

    @property
    def index(self) -> Path:
        return self.folder / "city.geo"

    @property
    def weights(self) -> list[str]:
        """Arguments that name the untrained weights."""
        return ["--weights", str(self.folder / "egotr.safetensors"), "--object-weights", str(self.folder / "attengeo.safetensors")]

    @property
    def place_weights(self) -> list[str]:
        return self.weights[:2]


def patchwork(seed: int, side_px: int = SIDE_PX) -> NDArray[np.uint8]:
    """Coloured blobs of some metres."""
    noise = np.random.default_rng(seed).uniform(0, 255, (side_px // 16, side_px // 16, 3)).astype(np.float32)
    return np.clip(cv2.resize(noise, (side_px, side_px), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def write_ortho(
    path: Path, bands: NDArray[np.generic], crs: str | None = "EPSG:32645", transform: Affine | None = None, nodata: float | None = None
) -> Path:
    """Write a GeoTIFF of (H, W) or (H, W, C) pixels."""
    stack = bands[None] if bands.ndim == 2 else bands.transpose(2, 0, 1)
    where = from_origin(WEST, NORTH, GSD_M, GSD_M) if transform is None else transform
    profile = {"driver": "GTiff", "width": stack.shape[2], "height": stack.shape[1], "count": len(stack), "dtype": stack.dtype.name}
    with rasterio.open(path, "w", crs=crs, transform=where, nodata=nodata, **profile) as file:
        file.write(stack)
    return path


def run_geo(*args: str | Path, env: dict[str, str] | None = None) -> Result:
    """Run the command line in this process, as `geo` does."""
    return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="geo", env={"GEO_INDEX": None, "GEO_DATA": None, **(env or {})})


def save_untrained(folder: Path, seed: int = 0) -> None:
    """Save weights as they are before training, both branches of the place model alike."""
    import torch

    from crossgeo.models import checkpoint
    from crossgeo.models.attengeo import PRESETS as ATTENGEO
    from crossgeo.models.attengeo import AttenGeo
    from crossgeo.models.egotr import PRESETS as EGOTR
    from crossgeo.models.egotr import EgoTR
    from crossgeo.models.views import DroneView, ObjectView

    torch.manual_seed(seed)
    egotr, attengeo = EGOTR["egotr-s"], ATTENGEO["attengeo-s"]
    both = EgoTR(egotr)
    # As a training starts; a photo that is a piece of the imagery then fits there at once, and is not looked for by its parts.
    both.aerial.load_state_dict(both.ground.state_dict())
    place = {"kind": "egotr", "config": egotr.to_dict(), "view": DroneView().to_dict(), "thresholds": {"score": -1.0, "margin": 0.0}}
    thing = {"kind": "attengeo", "config": attengeo.to_dict(), "view": ObjectView().to_dict()}
    checkpoint.save_weights(folder / "egotr.safetensors", both.state_dict(), {"name": "untrained-egotr", **place})
    checkpoint.save_weights(folder / "attengeo.safetensors", AttenGeo(attengeo).state_dict(), {"name": "untrained-attengeo", **thing})


def make_city(folder: Path) -> None:
    """Write imagery, weights, photo and index."""
    folder.mkdir()
    save_untrained(folder)
    city, rgb = City(folder), patchwork(1)
    write_ortho(city.ortho, rgb)
    Image.fromarray(rgb[100:340, 80:400]).save(city.photo, quality=95)
    done = run_geo("index", "build", city.ortho, "--out", city.index, "--stride-m", "30", *city.place_weights)
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    """Return the city, made by the first test worker that asks."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (shared / "city.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "city" / "made").exists():
            make_city(shared / "city")
            (shared / "city" / "made").touch()
    return City(shared / "city")


@pytest.fixture(name="geo")
def geo_fixture() -> Callable[..., Result]:
    """Return the function that runs the command line in this process."""
    return run_geo


@pytest.fixture
def refused() -> Callable[..., str]:
    """Return a function that runs a command, checks its exit code and its one line on stderr, and returns that line."""

    def check(code: int, *args: str | Path) -> str:
        result = run_geo(*args)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        lines = [line for line in result.stderr.splitlines() if line.startswith("geo: ")]
        assert len(lines) == 1, result.stderr
        return lines[0]

    return check


@pytest.fixture(name="write_ortho")
def write_ortho_fixture() -> Callable[..., Path]:
    """Return the function that writes a GeoTIFF."""
    return write_ortho


@pytest.fixture(name="patchwork")
def patchwork_fixture() -> Callable[..., NDArray[np.uint8]]:
    """Return the function that makes imagery."""
    return patchwork


@pytest.fixture
def untrained() -> Callable[..., None]:
    """Return the function that saves untrained weights into a folder, from a seed."""
    return save_untrained


@pytest.fixture
def start_geo() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts the command line as a process of its own; what a test leaves running is ended."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str | Path, cwd: Path | None = None, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("GEO_")} | {"GEO_RUNTIME": "torch"}
        # A test run in the background may have SIGINT ignored, and its children with it.
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom crossgeo.cli import main; main()"
        command = [sys.executable, "-c", code, *map(str, args)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, cwd=cwd, env=env, stdin=stdin, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()
