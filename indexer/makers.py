"""Which maker makes the pieces of a build: this process, this process going on with a cluster's work, or the workers of a cluster."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from crossgeo.indexer import files
from crossgeo.indexer.described import Describe
from crossgeo.indexer.handover import FromShards
from crossgeo.indexer.journal import Journal, read_piece
from crossgeo.indexer.manifest import GridRecord
from crossgeo.indexer.pieces import Here, Maker
from crossgeo.indexer.shard_store import open_store
from crossgeo.indexer.shards import Brief, Prints, digest_of
from crossgeo.indexer.spread import HAND, Crew, Spread

_BUILD = "build"  # the piece of the journal that says where shards lie
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
    brief = Brief(storage, _folder(journal, digest_of(plan), work), digest_of(plan), source_crs, grid, batch)
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


def _folder(journal: Journal, plan: str, work: Describe | Crew) -> str:
    """Return the folder of a build's shards: each build has its own, and workers of other versions another."""
    kept = journal.get_json(_BUILD)
    versions = work.runner.versions if isinstance(work, Crew) else None
    if kept is None or versions not in (None, kept["versions"]):
        if kept is not None and isinstance(work, Crew):
            if not any(journal.folder.glob("*/segment.json")):  # or areas would be described in two ways
                journal.drop(HAND)
            open_store(work.storage or str(journal.folder / _SHARDS)).remove_all(kept["folder"])
        kept = {"folder": f"{plan[:16]}{uuid.uuid4().hex[:12]}", "versions": versions}
        if versions is not None:
            journal.put_json(_BUILD, kept)
    return str(kept["folder"])


def forget_shards(index: Path, work: Describe | Crew) -> None:
    """Remove what the workers of a finished build left in a storage of their own; its journal, which says where, is still there."""
    if isinstance(work, Crew) and work.storage is not None and (kept := read_piece(index / "work" / _BUILD)) is not None:
        open_store(work.storage).remove_all(json.loads(kept)["folder"])
