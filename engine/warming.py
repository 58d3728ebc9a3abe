"""Features of windows made before anybody clicks: what `geo index warm` does for ground that will be asked about."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossgeo.engine.feature_cache import DISK_BYTES, FeatureCache, for_windows, with_cells
from crossgeo.engine.feature_store import limit_to_keep, stored_bytes, surely_kept
from crossgeo.engine.locate import CENTRE_STEP_M, ObjectFinder, WindowPlace
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.errors import LimitError, UsageError
from crossgeo.indexer.filters import Bounds, Filters
from crossgeo.indexer.index import GeoIndex, Segment
from crossgeo.indexer.select import Selection
from crossgeo.models.street_view import StreetObjectView

_MOST = 2_000_000  # windows, which are 1 TB of the shipped weights; more are not even counted one by one


@dataclass(frozen=True)
class Warming:
    """What it takes to have the features of some ground."""

    windows: int  # one every 2 m, wherever there is imagery
    there: int  # of them, that are kept already
    window_bytes: int  # of one on disk
    room: int  # windows that a folder of this size keeps for sure

    @property
    def bytes(self) -> int:
        """What all of them take on disk."""
        return self.windows * self.window_bytes


def warm_index(
    index: str | Path,
    feature_cache: str | Path,
    object_weights: str = "attengeo-s-drone",
    feature_cache_bytes: int = DISK_BYTES,
    near: Sequence[tuple[float, float]] = (),
    radius_m: float | None = None,
    bounds: Bounds | None = None,
    polygon: Mapping[str, Any] | None = None,
    runtime: RuntimeOptions | None = None,
    planned: Callable[[Warming], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Warming:
    """Make what a drone's object model makes of windows, and keep it in a folder: the first click there is then as quick as a second.

    Ground is that within `radius_m` (250 unless told) of any place of `near` (lat, lon), in `bounds` (west, south, east, north) and in a
    GeoJSON `polygon`, as far as the index has tiles; all of it where none is given. `feature_cache_bytes` is what the folder may grow to,
    of which searches must be told the same (`GeoSearch.open`), as of the weights and the runtime. `planned` hears what it takes before
    anything is made, and may return False to leave it at that; `progress` how many windows are done of how many. The same call goes on
    where one ended.

    Returns what it took. Raises UsageError for ground without tiles, for more windows than the folder keeps and for weights of street
    photos, LimitError where the disk has no room or the folder cannot be used, and what `ObjectFinder.load` does.
    """
    folder = Path(feature_cache)
    if radius_m is not None and not near:
        raise UsageError("a radius needs a place to be around; give it with near")
    around = near or (None,)
    filters = [Filters.of(bounds, place, radius_m, polygon) for place in around]
    cache = FeatureCache(0, folder, for_windows(feature_cache_bytes), device_bytes=0)
    try:
        with GeoIndex.open(Path(index)) as opened:
            finder = ObjectFinder.load(opened, object_weights, cache, runtime)
            return _warm(finder, opened, filters, folder, feature_cache_bytes, planned or (lambda _: True), progress)
    finally:
        cache.close()


def _warm(
    finder: ObjectFinder,
    index: GeoIndex,
    filters: Sequence[Filters],
    folder: Path,
    limit_bytes: int,
    planned: Callable[[Warming], bool],
    progress: Callable[[int, int], None] | None,
) -> Warming:
    if isinstance(finder.view, StreetObjectView):
        raise UsageError(
            "windows of street clicks show their lines of sight, so that none can be made before the click; give drone weights"
        )
    places = places_of(index, filters)
    if not places:
        raise UsageError(f"{index.path}: there is no imagery with tiles there; give other ground, or none for all of it")
    there = sum(finder.kept(places))
    _check_trouble(finder.features, folder)
    size, room = stored_bytes(finder.window_bytes), surely_kept(for_windows(limit_bytes), finder.window_bytes)
    found = Warming(len(places), there, size, room)
    if not planned(found):
        return found
    _check_room(found, folder, limit_bytes, limit_to_keep(len(places), finder.window_bytes))
    for done in finder.warm(places):
        _check_trouble(finder.features, folder)
        if progress is not None:
            progress(done, len(places))
    lost = len(places) - sum(finder.kept(places))
    _check_trouble(finder.features, folder)
    if lost:
        raise LimitError(f"{folder}: {lost} of {len(places)} windows did not stay, since others write there, too; run it again, or alone")
    return found


def places_of(index: GeoIndex, filters: Sequence[Filters]) -> list[WindowPlace]:
    """Return the middles of all windows that clicks on some ground may fall into: of imagery, around the tiles that filters select."""
    reach_m = index.widest_stride_m / 2
    found: dict[int, set[tuple[int, int]]] = {}
    for one in filters:
        selection = Selection(index, one)
        ids = selection.ids(reach_m * math.sqrt(2.0))
        if len(ids) * (index.stride_m / CENTRE_STEP_M) ** 2 > _MOST:
            raise UsageError(
                f"{index.path}: {len(ids)} tiles are too much ground to make windows of, one every {CENTRE_STEP_M:g} m; "
                "name the places that matter with --near, --bounds or --polygon"
            )
        for segment in index.segments:
            own = ids[(ids >= segment.first_id) & (ids < segment.first_id + segment.tiles)]
            found.setdefault(segment.number, set()).update(_nodes(index, segment, selection, index.centres[own], reach_m))
    return [
        (segment, column * CENTRE_STEP_M, row * CENTRE_STEP_M)
        for segment in index.segments
        for row, column in sorted(found.get(segment.number, ()))
        if index.covers(segment, column * CENTRE_STEP_M, row * CENTRE_STEP_M)
    ]


def _nodes(index: GeoIndex, segment: Segment, selection: Selection, centres: Any, reach_m: float) -> set[tuple[int, int]]:
    """The rows and columns of the windows' grid around tiles (n, 2), as far as clicks on selected ground are rounded to them."""
    if len(centres) == 0:
        return set()
    steps = np.arange(-math.ceil(reach_m / CENTRE_STEP_M), math.ceil(reach_m / CENTRE_STEP_M) + 1)
    middle = np.round(centres[:, ::-1] / CENTRE_STEP_M).astype(np.int64)  # row, column
    nodes = np.unique((middle[:, None, None] + np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1)).reshape(-1, 2), axis=0)
    near = selection.near(segment, nodes[:, ::-1] * CENTRE_STEP_M, CENTRE_STEP_M * math.sqrt(0.5))
    return {(row, column) for row, column in nodes[near].tolist()}


def _check_room(found: Warming, folder: Path, limit_bytes: int, needed_bytes: int) -> None:
    if found.windows > found.room:
        needed_mb = math.ceil(with_cells(needed_bytes) / 1e6)
        raise UsageError(
            f"{folder}: {found.windows} windows take {found.bytes / 1e6:.0f} MB, and --feature-cache-mb {limit_bytes // 1_000_000} keeps "
            f"{found.room} for sure; give --feature-cache-mb {needed_mb}, here and to searches, or less ground"
        )
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    missing_bytes = (found.windows - found.there) * found.window_bytes
    if shutil.disk_usage(there).free < missing_bytes:
        raise LimitError(f"{folder}: the disk has no room for {missing_bytes / 1e6:.0f} MB of features; free some, or give less ground")


def _check_trouble(features: FeatureCache, folder: Path) -> None:
    trouble = features.stats().trouble
    if trouble is not None:
        raise LimitError(f"{folder}: {trouble}; features cannot be kept there, so free or mend it, or give another folder")
