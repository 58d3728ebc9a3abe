"""A folder that appears only once it is whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossgeo.errors import InputError, LimitError
from crossgeo.indexer.files import named, what_is


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Give a folder to write to that is renamed to `out` at the end, or removed where that is not reached.

    Raises InputError when `out` exists or cannot be made, LimitError when the disk does not take it.
    """
    if what_is(out) is not None:
        raise InputError(f"{out}: exists already; name a folder that does not, or remove it")
    part = out.with_name(out.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        part.rename(out)
    except OSError as error:
        raise named(out, error) or LimitError(
            f"{out}: the town could not be written: {error.strerror or error}; give a folder with room that you may write to"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
