"""Giving an index a calibration, or taking it away: a new generation of the same segments, so that going back is as for any change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossgeo.errors import InputError, MismatchError
from crossgeo.indexer.generations import KEEP, tidy
from crossgeo.indexer.lock import locked
from crossgeo.indexer.manifest import Manifest, generations, read_manifest, write_manifest


def set_calibration(index: Path, calibration: Mapping[str, Any] | None, of_hash: str | None = None, keep: int = KEEP) -> Manifest:
    """Make a generation with a calibration, plain data that the engine understands, current; None takes away the one that is there.

    `of_hash` is the manifest's hash of what was calibrated: MismatchError where the index has changed since. Raise InputError where there
    is none to take away, LockedError where another process writes, LimitError when the disk does not take it.
    """
    read_manifest(index)  # says what is wrong, before anything is locked
    with locked(index):
        current = read_manifest(index)
        if calibration is None and current.calibration is None:
            raise InputError(f"{index} has no calibration; there is nothing to take away")
        if of_hash is not None and of_hash != current.hash:
            raise MismatchError(f"{index} was changed while it was being calibrated, to other ground; calibrate it again")
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        number = 1 + max(generations(index))
        done = replace(current, generation=number, created=created, previous=current.generation, calibration=calibration)
        write_manifest(index, done)
        tidy(index, done, keep)
        return done
