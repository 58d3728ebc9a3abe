"""The generations of an index: committing one, keeping those before it for a while, and going back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossgeo.disk import guarded, sync
from crossgeo.errors import GeoError, InputError, LimitError
from crossgeo.indexer import files
from crossgeo.indexer.lock import locked
from crossgeo.indexer.manifest import (
    GridRecord,
    Manifest,
    ModelIdentity,
    SegmentRecord,
    SourceRecord,
    check_file,
    generations,
    has_index,
    parse_manifest,
    point_to,
    read_manifest,
    segment_path,
    write_manifest,
)
from crossgeo.indexer.removed import check_removed, removed_path
from crossgeo.indexer.sources_of import zone_of
from crossgeo.indexer.vector_index import measured_ms

KEEP = 1


def commit(
    index: Path,
    identity: ModelIdentity,
    grid: GridRecord,
    sources: Sequence[SourceRecord],
    segments: Sequence[SegmentRecord],
    previous: int | None,
    calibration: Mapping[str, Any] | None = None,
) -> Manifest:
    """Make a new generation the current one and return it; what it names lies on disk already.

    `calibration` is that of an index that answers the same; what changes answers makes a generation without one.
    """
    number = 1 + max(generations(index), default=0) if has_index(index) else 1
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    order = {crs: n for n, crs in enumerate(dict.fromkeys(zone_of(s, grid.crs) for s in sources))}
    placed = sorted(segments, key=lambda s: (order.get(s.crs, len(order)), s.layer))
    known = {} if previous is None or not has_index(index) else _latency_of(index)
    latency_ms = {s.name: known.get(s.name) or measured_ms(segment_path(index, s.name)) for s in placed if s.tiles}
    manifest = Manifest(number, created, identity, grid, tuple(sources), tuple(placed), previous, latency_ms, calibration)
    for folder in (index.parent, index / "segments", index / "removed"):
        files.keep_names(folder)  # a run that was broken off may have made them and gone no further
    write_manifest(index, manifest)
    return manifest


def _latency_of(index: Path) -> Mapping[str, float]:
    """Return what was measured of the current generation; nothing where that cannot be read."""
    try:
        return read_manifest(index).latency_ms
    except GeoError:
        return {}


def tidy(index: Path, current: Manifest, keep: int, work: Sequence[str] = ()) -> None:
    """Remove the folders of work that are named, and what neither the current generation nor the `keep` before it need.

    Generations that a rollback left behind go, too; readers that have files open keep them.
    """
    with guarded(index):
        sync(index)  # a run that was broken off right after its commit may not have done it, and what goes now is all there was before
    for name in work:
        files.take_away(index / name)  # a node that was cut off may go on writing into it
    for path in files.listing(index):
        if path.match("work-*"):  # only `work` is ever gone on with after a commit
            files.remove(path)
    kept = {current.generation: current}
    there, before = generations(index), current.previous
    while before in there and before not in kept and len(kept) <= keep:
        try:
            kept[before] = parse_manifest(there[before], files.read(there[before]))
        except LimitError:
            raise
        except GeoError:
            break  # a damaged one is of no use to go back to
        before = kept[before].previous
    for number, path in there.items():
        if number not in kept:
            files.remove(path)
    for litter in [*files.listing(index), *files.listing(index / "removed")]:
        if litter.suffix == ".tmp":
            files.remove(litter)
    segments = [s for manifest in kept.values() for s in manifest.segments]
    _remove_others(index / "segments", {s.name for s in segments})
    _remove_others(index / "removed", {removed_path(index, s.removed).name for s in segments if s.removed is not None})
    with guarded(index):
        sync(index)  # or finished work comes back with a power cut, and nothing but a build or an addition removes that


def _remove_others(folder: Path, kept: set[str]) -> None:
    for path in files.listing(folder):
        if path.name not in kept:
            files.remove(path)
    if not kept:
        files.remove(folder)


def roll_back(index: Path, to: int | None = None) -> Manifest:
    """Make the generation before the current one current again, or the generation `to`, and return its manifest.

    Every file of it is checked first. What it replaces stays until the next change. Raise InputError where there is no such generation,
    StoreError where it is damaged, LockedError where another process writes.
    """
    if files.what_is(index) != "folder" or not generations(index):
        read_manifest(index)  # says what is wrong
    with locked(index):
        there = generations(index)
        if to is None:
            current = read_manifest(index)
            if current.previous not in there:
                raise InputError(f"{index} keeps no generation before {current.generation}; there is nothing to go back to")
            to = current.previous
        if to not in there:
            numbers = ", ".join(str(number) for number in there)
            raise InputError(f"{index} keeps no generation {to}, but {numbers}; give one of these")
        data = files.read(there[to])
        manifest = parse_manifest(there[to], data)
        check_files(index, manifest)
        point_to(index, there[to], data)
        return manifest


def check_files(index: Path, manifest: Manifest) -> None:
    """Raise StoreError, naming the file, unless every file of a generation is whole."""
    for segment in manifest.segments:
        for name, record in segment.files.items():
            check_file(segment_path(index, segment.name) / name, record)
        if segment.removed is not None:
            check_removed(index, segment.removed)
