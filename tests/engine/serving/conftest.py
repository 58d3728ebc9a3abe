"""The small place of the engine's tests, its rows spread over actors in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gated_cluster import GatedActor, GatedCluster

from crossgeo.engine.search import GeoSearch
from crossgeo.engine.serving.rows import OnShelf, SpreadRows
from crossgeo.engine.serving.shelf import ShardOptions, Shelf
from crossgeo.indexer.index import GeoIndex


@dataclass
class Spread:
    """A search whose rows lie with actors that the test holds."""

    search: GeoSearch
    cluster: GatedCluster
    shelf: Shelf
    rows: SpreadRows

    def actors(self, number: int) -> list[GatedActor]:
        """Return those of an area."""
        return self.cluster.of(self.rows._held[number].files.name)

    def asked(self) -> set[int]:
        """Return the areas that were searched since this was asked last."""
        found = set()
        for number in range(len(self.rows.areas)):
            names = [name for actor in self.actors(number) for name in actor.answered]
            found |= {number} if "search_area" in names else set()
            for actor in self.actors(number):
                actor.answered.clear()
        return found


@pytest.fixture
def spread(tmp_path: Path) -> Iterator[Callable[..., Spread]]:
    """How to spread an index: what opens a search of it, and options."""
    with ExitStack() as stack:

        def opened(path: Path, open_search: Callable[[GeoIndex], GeoSearch], **how: Any) -> Spread:
            cluster = stack.enter_context(GatedCluster())
            options = ShardOptions(**{"tiles": 64, "replicas": 2, "deadline_s": 20.0, "folder": tmp_path / "shelf", "start_s": 60.0, **how})
            shelf = stack.enter_context(Shelf(cluster, options))
            search = stack.enter_context(open_search(GeoIndex.open(path, OnShelf(shelf))))
            assert isinstance(search.index.rows, SpreadRows)
            return Spread(search, cluster, shelf, search.index.rows)

        yield opened
