"""A disk, a memory or a table of open files that is too small is a limit, and the index answers as before until there is room."""

from __future__ import annotations

import dataclasses
import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossgeo.errors import LimitError
from crossgeo.indexer.build import build_index
from crossgeo.indexer.index import GeoIndex


def test_a_full_disk_is_a_limit_and_the_old_index_stays(
    small_disk: Any, tmp_path: Path, ortho: Path, describe: Any, identity: Any, options: Any
) -> None:
    small_disk(65536)
    old = build_index([ortho], small_disk(65536) / "a.geo", describe, identity, dataclasses.replace(options, stride_m=40.0))
    more = dataclasses.replace(options, overwrite=True)
    wanted = build_index([ortho], tmp_path / "unbroken.geo", describe, identity, more)
    used = sum(f.stat().st_size + 4096 for f in (small_disk(65536) / "a.geo").rglob("*") if f.is_file()) // 1024
    limits, size = 0, used + 16
    while True:
        out = small_disk(size) / "a.geo"
        try:
            assert build_index([ortho], out, describe, identity, more).hash == wanted.hash
            break
        except LimitError as error:
            assert "room" in str(error)
            limits += 1
            with GeoIndex.open(out) as index:
                assert index.manifest == old
        size += max(16, used // 8)
        assert size < 65536
    assert limits >= 3


@contextmanager
def _handles(count: int) -> Iterator[None]:
    """Let this process have so many open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _next_handle() -> int:
    gc.collect()  # or files that tests before left open would leave numbers free between theirs
    handle = os.open(os.devnull, os.O_RDONLY)
    os.close(handle)
    return handle


def test_an_index_that_cannot_be_opened_for_want_of_handles_is_not_called_damaged(made_index: Path) -> None:
    with GeoIndex.open(made_index) as index:
        wanted = index.manifest
    limits, free = 0, _next_handle()
    for count in range(free, free + 20):
        try:
            with _handles(count), GeoIndex.open(made_index) as index:
                assert index.manifest == wanted
                break
        except LimitError as error:
            assert "ulimit -n" in str(error)
            limits += 1
    assert 2 <= limits < 20


def test_a_build_short_of_handles_leaves_the_old_index_and_goes_on_later(
    tmp_path: Path, ortho: Path, describe: Any, identity: Any, options: Any
) -> None:
    out = tmp_path / "a.geo"
    old = build_index([ortho], out, describe, identity, dataclasses.replace(options, stride_m=40.0))
    more = dataclasses.replace(options, overwrite=True)
    wanted = build_index([ortho], tmp_path / "unbroken.geo", describe, identity, more)
    failed, free = 0, _next_handle()
    for count in range(free, free + 30):
        try:
            with _handles(count):
                assert build_index([ortho], out, describe, identity, more).hash == wanted.hash
            break
        except LimitError as error:
            assert "Too many open files" in str(error)
            failed += 1
            with GeoIndex.open(out) as index:
                assert index.manifest.hash in (old.hash, wanted.hash)  # the new one where only tidying up is left to do
    assert 2 <= failed < 30
