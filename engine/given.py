"""Files that users name, read whole; what is wrong with them is said in words."""

from __future__ import annotations

from pathlib import Path

from crossgeo.errors import InputError


def read_given(path: Path, what: str, of_folder: str) -> bytes:
    """Return the bytes of `what` a user named; raise InputError where there is none, or it is a folder (`of_folder` says what to do)."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such {what}") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder; {of_folder}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # a zero byte, or what no file system takes for a character
        raise InputError(f"{str(path)!r} is no path ({error}); correct it") from error
