"""The service over the small place of the engine's tests, with a stand-in describer: in this process, and behind a socket."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from crossgeo.engine.photo import Photo
from crossgeo.engine.search import GeoSearch
from crossgeo.indexer.index import GeoIndex
from crossgeo.web.app import make_app
from crossgeo.web.served import Indexes
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
    with Indexes({"index": index_path}, open_search, workers=1) as opened:
        yield opened


@pytest.fixture
def client(indexes: Indexes) -> Iterator[TestClient]:
    """A client of the service, in this process."""
    with TestClient(make_app(indexes, Settings()), base_url="http://127.0.0.1") as asking:
        yield asking
