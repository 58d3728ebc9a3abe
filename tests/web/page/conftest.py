"""The map page in a real browser: over the service with a stand-in describer, and once over `geo serve` with the shipped weights."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from crossgeo import geodesy
from crossgeo.engine.build import build_index
from crossgeo.engine.place import Answer, FoundObject, Place, Status
from crossgeo.engine.pose import DronePose
from crossgeo.town.write import write_town

SEED, SIDE_M, PHOTOS = 9101, 160.0, 2
# A browser without a graphics card draws WebGL all the same.
ARGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
CRS = geodesy.parse_crs("EPSG:32645")  # of the small place


@dataclass(frozen=True)
class SmallTown:
    """A town with photos, and its index."""

    folder: Path

    @property
    def index(self) -> Path:
        return self.folder.with_suffix(".geo")

    def photo(self, number: int) -> Path:
        return self.folder / "photos" / f"photo_{number:04d}.jpg"

    def truth(self, number: int) -> dict[str, Any]:
        """What is known of a photo."""
        return next(f for f in self._features("truth.geojson") if Path(f["file"]).name == self.photo(number).name)

    def objects(self, number: int) -> list[dict[str, Any]]:
        """What is clicked in a photo."""
        return [f for f in self._features("objects.geojson") if Path(f["file"]).name == self.photo(number).name]

    def _features(self, name: str) -> list[dict[str, Any]]:
        return [feature["properties"] for feature in json.loads((self.folder / name).read_text())["features"]]


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> SmallTown:
    """Return the town, made by the first test worker that asks."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = SmallTown(shared / "page-town")
    with (shared / "page-town.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.index.exists():
            write_town(made.folder, SEED, SIDE_M, PHOTOS)
            build_index([made.folder / "ortho.tif"], made.index)
    return made


@pytest.fixture(scope="session")
def address(town: SmallTown, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `geo serve` listens, in a process of its own."""
    folder = tmp_path_factory.mktemp("serve")
    command = [sys.executable, "-m", "crossgeo", "serve", str(town.index), "--port", "0", "--jobs", str(folder / "jobs"), "--rate", "0"]
    log = folder / "log"
    with log.open("w") as said, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said) as process:
        try:
            while not (found := re.findall(r"at (http://\S+)/\n", log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield found[0]
        finally:
            process.terminate()
    assert process.returncode == 0, log.read_text()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One browser; of a module and not of the session, since while it runs no other test of the process can start an event loop."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=ARGS)
        yield launched
        launched.close()


@dataclass
class Watched:
    """A page with all that it complains of and asks of other hosts."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def asked(self, request: Request) -> None:
        if not request.url.startswith((self.address, "blob:", "data:")):
            self.foreign.append(request.url)


@pytest.fixture
def open_page(browser: Browser, service: Any) -> Iterator[Callable[..., Page]]:
    """Return a function that opens the page of a service; at the end none may have complained or asked another host.

    `at` is the service's address, else that of the small place; `before(page)` is called before the page is loaded; `expected` are parts
    of complaints that belong to the test.
    """
    watched: list[tuple[Watched, tuple[str, ...]]] = []

    def opened(
        width: int = 1280,
        height: int = 800,
        at: str = service.address,
        before: Callable[[Page], object] | None = None,
        expected: tuple[str, ...] = (),
        **how: Any,
    ) -> Page:
        page = browser.new_context(viewport={"width": width, "height": height}, **how).new_page()
        page.set_default_timeout(60_000)
        watch = Watched(page, at)
        watched.append((watch, expected))
        page.on("console", watch.heard)
        page.on("pageerror", lambda error: watch.complaints.append(str(error)))
        page.on("request", watch.asked)
        if before is not None:
            before(page)
        page.goto(at)
        page.wait_for_selector("body[data-ready]")
        return page

    yield opened
    for watch, expected in watched:
        watch.page.context.close()
        assert watch.foreign == []
        assert [said for said in watch.complaints if not any(part in said for part in expected)] == []


@dataclass(frozen=True)
class Shot:
    """A photo of the small place, and where it was taken."""

    path: Path
    lat: float
    lon: float


@pytest.fixture(scope="session")
def flight(ground: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Shot]:
    """Three photos that look straight down from 43 m, north up."""
    folder, shots = tmp_path_factory.mktemp("flight"), []
    for number, xy in enumerate([(363_150.0, 3_057_450.0), (363_110.0, 3_057_490.0), (363_180.0, 3_057_400.0)]):
        path = folder / f"photo_{number:04d}.jpg"
        Image.fromarray(ground.photo(*xy, 0.0, 60.0).pixels).save(path, quality=95)
        shots.append(Shot(path, *geodesy.to_lat_lon(CRS, *xy)))
    return shots


@pytest.fixture
def answers(flight: list[Shot], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes answers as `geo batch` does, made up around where the photos were taken."""

    def answer(number: int, status: Status) -> Answer:
        shot = flight[number % len(flight)]
        places = [
            Place(shot.lat + 0.0003 * i, shot.lon, 2.5, 10.0, 0.7 - i / 20, 1, DronePose(10.0, 60.0), source="ortho.tif")
            for i in range(0 if status == "outside_coverage" else 3)
        ]
        west, south, east, north = shot.lon, shot.lat, shot.lon + 0.0001, shot.lat + 0.0001
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        polygon = {"type": "Polygon", "coordinates": [ring]}
        found = FoundObject(shot.lat + 0.00005, shot.lon + 0.00005, (0.0, 0.0, 9.0, 9.0), polygon, 9.0, 9.0, 0.8, 10.0)
        clicked = found if status == "located" else None
        return Answer(f"photo_{number:04d}.jpg", status, tuple(places), clicked, 1, "m", {"search": 3.0, "total": 9.0}, ("A guess.",))

    def write(*statuses: Status) -> Path:
        path = tmp_path / "answers.jsonl"
        path.write_text("".join(json.dumps(answer(number, status).to_json()) + "\n" for number, status in enumerate(statuses)))
        return path

    return write


@pytest.fixture
def know_camera() -> Callable[[Page], None]:
    """Return a function that fills in the camera of `flight`."""

    def fill(page: Page) -> None:
        page.locator("#options > summary").click()
        for name, value in (("heading_deg", "0"), ("fov_deg", "70"), ("height_m", "43")):
            page.locator(f"#{name}").fill(value)

    return fill


@pytest.fixture
def show_first() -> Callable[[Page, str, str], None]:
    """Return a function that sifts the list and goes to its first photo, which is to have a name."""

    def show(page: Page, sieve: str, name: str) -> None:
        page.locator("#filter").select_option(sieve)
        page.locator("#list").focus()
        page.keyboard.press("Home")
        expect(page.locator("#photo-name")).to_have_text(name)

    return show
