"""Small imagery cut into many shards, and the index that one process makes of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from affine import Affine

from crossgeo.indexer import described, pieces, shards
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.manifest import Manifest, ModelIdentity
from crossgeo.indexer.region import Region

WEST_M, NORTH_M = 353400.0, 3058000.0


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut small imagery into many shards, each of several pieces."""
    monkeypatch.setattr(pieces, "BLOCKS_PER_PIECE", 1)
    monkeypatch.setattr(described, "BATCHES_PER_PIECE", 2)
    monkeypatch.setattr(shards, "BLOCKS", 2)
    monkeypatch.setattr(shards, "TILES", 16)
    monkeypatch.setattr(shards, "_LEAST_SHARDS", 2)


@pytest.fixture(scope="session")
def imagery(tmp_path_factory: pytest.TempPathFactory, write_raster: Any, paint: Any) -> list[Path]:
    """Return four GeoTIFFs of 100 x 90 m, three of which overlap, in two UTM zones."""
    folder = tmp_path_factory.mktemp("imagery")
    places = [(WEST_M, NORTH_M), (WEST_M + 70, NORTH_M), (WEST_M + 40, NORTH_M - 60)]
    paths = [
        write_raster(folder / f"{n}.tif", paint(180, 200, seed=n), affine=Affine(0.5, 0, x, 0, -0.5, y)) for n, (x, y) in enumerate(places)
    ]
    far = Affine(0.5, 0.0, 527000.0, 0.0, -0.5, 9332000.0)
    return [*paths, write_raster(folder / "far.tif", paint(160, 200, seed=9), "EPSG:32737", far)]


@pytest.fixture(scope="session")
def masked(options: BuildOptions) -> BuildOptions:
    """Return options that leave some ground out."""
    return dataclasses.replace(options, masks=(Region.box(85.5101, 27.6365, 85.5105, 27.6369),))


@pytest.fixture(scope="session")
def wanted(tmp_path_factory: pytest.TempPathFactory, imagery: list[Path], describe: Any, identity: Any, masked: BuildOptions) -> Manifest:
    """Return the index as this process builds it."""
    return build_index(imagery, tmp_path_factory.mktemp("wanted") / "a.geo", describe, identity, masked)


@pytest.fixture
def build(tmp_path: Path, imagery: list[Path], identity: ModelIdentity, masked: BuildOptions) -> Any:
    """Return a function that builds with something that describes, or with a crew."""

    def run(work: Any, out: str = "a.geo", **changes: Any) -> Manifest:
        return build_index(imagery, tmp_path / out, work, identity, dataclasses.replace(masked, **changes))

    return run
