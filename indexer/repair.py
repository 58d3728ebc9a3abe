"""Mending an index after damage: what can be derived from files that are whole is made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from crossgeo.disk import rename, replacing
from crossgeo.errors import GeoError, LimitError, StoreError
from crossgeo.indexer import files
from crossgeo.indexer.generations import check_files, commit
from crossgeo.indexer.lock import locked
from crossgeo.indexer.manifest import (
    IMAGERY_FILE,
    TILES_FILE,
    Manifest,
    SegmentRecord,
    generations,
    parse_manifest,
    point_to,
    read_manifest,
    segment_path,
)
from crossgeo.indexer.segment_files import matches, move_in, seal, write_search

WORK = "work-repair"


def repair_index(path: str | Path) -> list[str]:
    """Mend what can be and return what was mended, a sentence each; `verify_index` then says what could not.

    CURRENT is derived from the newest generation whose files are all whole; what is searched, from the descriptors. Raise InputError where
    there is no index, LockedError where another process writes, LimitError for a full disk.
    """
    index = Path(path)
    if files.what_is(index) != "folder" or not generations(index):
        read_manifest(index)  # says what is wrong
    done: list[str] = []
    with locked(index):
        try:
            manifest = read_manifest(index)
        except StoreError as error:
            found = _whole_generation(index)
            if found is None:
                return []
            manifest, data, where = found
            point_to(index, where, data)
            done.append(f"{index / 'CURRENT'} names generation {manifest.generation}, the newest that is whole ({error})")
        files.remove(index / WORK)
        try:
            mended = [_repair_segment(index, segment, done) for segment in manifest.segments]
            if tuple(mended) != manifest.segments:
                commit(index, manifest.identity, manifest.grid, manifest.sources, mended, manifest.previous, manifest.calibration)
        finally:
            files.remove(index / WORK)
    return done


def _whole_generation(index: Path) -> tuple[Manifest, bytes, Path] | None:
    """Return the newest generation whose manifest agrees with itself and whose files are whole, with its bytes and its path."""
    for path in reversed(generations(index).values()):
        try:
            data = files.read(path)
            manifest = parse_manifest(path, data)
            check_files(index, manifest)
        except LimitError:
            raise
        except GeoError:
            continue
        return manifest, data, path
    return None


def _repair_segment(index: Path, segment: SegmentRecord, done: list[str]) -> SegmentRecord:
    """Mend a segment's files in place where they come out as they were, else as another segment; return the record that then holds."""
    folder, work = segment_path(index, segment.name), index / WORK / segment.name
    broken = {name for name, record in segment.files.items() if not matches(folder / name, record)}
    if not broken or broken & {IMAGERY_FILE, TILES_FILE}:
        return segment
    files.make_folder(work)
    files.copy(folder / TILES_FILE, work / TILES_FILE)
    search = write_search(work)
    done += [f"{folder / name} was made again from {TILES_FILE}" for name in sorted(broken)]
    if all((work / name).is_file() and matches(work / name, segment.files[name]) for name in broken):
        for name in sorted(broken):
            with replacing(folder / name) as temporary:
                rename(work / name, temporary)
        return segment
    if IMAGERY_FILE in segment.files:  # made by another version of what makes it
        files.copy(folder / IMAGERY_FILE, work / IMAGERY_FILE)
    sealed = seal(work, segment.crs, segment.bounds, segment.blocks, segment.tiles, segment.dim, segment.layer, search)
    move_in(index, work, sealed)
    return replace(sealed, removed=segment.removed)
