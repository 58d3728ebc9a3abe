"""Which maker makes the pieces of a build: this process, this process going on with a cluster's work, or the workers of a cluster."""

from __future__ import annotations

from typing import Any

from crossgeo.indexer import files
from crossgeo.indexer.described import Describe
from crossgeo.indexer.handover import FromShards
from crossgeo.indexer.journal import Journal
from crossgeo.indexer.manifest import GridRecord
from crossgeo.indexer.pieces import Here, Maker
from crossgeo.indexer.shard_store import open_store
from crossgeo.indexer.shards import Brief, Prints, digest_of, folder_of
from crossgeo.indexer.spread import Crew, Spread

_SHARDS = "shards"  # in the index's work, where no other storage is named


def maker_of(
    work: Describe | Crew,
    journal: Journal,
    plan: dict[str, Any],
    prints: Prints,
    grid: GridRecord,
    source_crs: str | None,
    batch: int,
    model: str,
) -> Maker:
    """Return who makes the pieces of the build that `plan` describes."""
    own = journal.folder / _SHARDS
    storage = work.storage if isinstance(work, Crew) and work.storage is not None else str(own.absolute())
    brief = Brief(storage, digest_of(plan), source_crs, grid, batch)
    if not isinstance(work, Crew):
        here = Here(journal, work, batch, model)
        return FromShards(here, journal, prints, brief, open_store(storage), work, model) if own.is_dir() else here
    if work.storage is None:
        files.make_folder(own)
    return Spread(journal, prints, brief, open_store(storage), work.runner, work.mixed)


def check_storage(work: Describe | Crew) -> None:
    """Raise InputError where a storage that was named is not there, UsageError where the name is none."""
    if isinstance(work, Crew) and work.storage is not None:
        open_store(work.storage).check()


def forget_shards(work: Describe | Crew, plan: dict[str, Any]) -> None:
    """Remove what the workers of a finished build left in a storage of their own."""
    if isinstance(work, Crew) and work.storage is not None:
        open_store(work.storage).remove_all(folder_of(digest_of(plan)))
