"""The service over the small place of the engine's tests, with a stand-in describer: in this process, and behind a socket."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from PIL import Image
from starlette.testclient import TestClient

from crossgeo.engine.photo import Photo
from crossgeo.engine.search import GeoSearch
from crossgeo.indexer.index import GeoIndex
from crossgeo.web.app import make_app
from crossgeo.web.keys import Keys
from crossgeo.web.served import Indexes, Opening
from crossgeo.web.server import BACKLOG, Server, bind, make_server
from crossgeo.web.settings import Settings

_spec = importlib.util.spec_from_file_location("engine_tests_conftest", Path(__file__).parents[1] / "engine" / "conftest.py")
assert _spec is not None and _spec.loader is not None
_engine = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_engine)
ground, index_path, write_ortho = _engine.ground, _engine.index_path, _engine.write_ortho_fixture
make_describer, make_patchwork = _engine.make_describer, _engine.make_patchwork


def as_png(photo: Photo) -> bytes:
    """Return a photo as a file."""
    file = io.BytesIO()
    Image.fromarray(photo.pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def photo_file(ground: Any) -> bytes:
    """A photo of the place, 60 m wide, north up."""
    return as_png(ground.photo(363_150.0, 3_057_450.0, 0.0, 60.0))


@pytest.fixture(scope="session")
def open_search() -> Callable[[Path], GeoSearch]:
    """How the service opens an index: with the stand-in describer."""

    def opened(path: Path) -> GeoSearch:
        return GeoSearch(GeoIndex.open(path), _engine.ColourDescriber())

    return opened


@pytest.fixture
def indexes(index_path: Path, open_search: Callable[[Path], GeoSearch]) -> Iterator[Indexes]:
    """The place, served as `index`."""
    with Indexes({"index": index_path}, Opening(open_search, workers=1)) as opened:
        yield opened


@pytest.fixture
def client(indexes: Indexes, tmp_path: Path) -> Iterator[TestClient]:
    """A client of the service, in this process."""
    with TestClient(make_app(indexes, Settings(tmp_path / "jobs")), base_url="http://127.0.0.1") as asking:
        yield asking


@dataclass
class Service:
    """A service behind a socket of this machine, in a thread."""

    address: str
    port: int
    server: Server
    indexes: Indexes

    def get(self, path: str, **more: Any) -> httpx.Response:
        return httpx.get(self.address + path, timeout=60, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return httpx.post(self.address + path, timeout=60, **more)

    def connect(self) -> socket.socket:
        """Return a raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def stop(self) -> None:
        """Tell it to stop, as SIGTERM does."""
        self.server.should_exit = True


@contextmanager
def serving(indexes: Indexes, settings: Settings, keys: Keys | None = None) -> Iterator[Service]:
    """Serve open indexes until the block is left."""
    bound = bind("127.0.0.1", 0)
    bound.listen(BACKLOG)
    port = bound.getsockname()[1]
    made: queue.Queue[Server] = queue.Queue()

    async def serve() -> None:
        server = make_server(indexes, settings, keys)
        made.put(server)
        await server.serve([bound])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    service = Service(f"http://127.0.0.1:{port}", port, made.get(timeout=30), indexes)
    deadline = time.monotonic() + 30
    while not service.server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield service
    finally:
        service.stop()
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="session", name="serving")
def serving_fixture() -> Any:
    """How to serve indexes with settings of one's own."""
    return serving


@pytest.fixture
def service(indexes: Indexes, tmp_path: Path) -> Iterator[Service]:
    """The service with the usual settings."""
    with serving(indexes, Settings(tmp_path / "jobs")) as running:
        yield running
