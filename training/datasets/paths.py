"""Finding the files of a data set: below its root and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from crossgeo.errors import InputError


def below(root: Path, relative: str, named_in: Path) -> Path:
    """Return a path that a list names; raise InputError where it leads out of the data set."""
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise InputError(f"{named_in} names {relative!r}, which is no path below {root}; correct the list")
    return root / path


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number (from 1) and text of each line that is not empty; raise InputError when the list cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); get the list again") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures right in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
