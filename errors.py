"""The errors that a user can mend, each with the exit code of the command line (docs/formats.md lists them)."""

from __future__ import annotations

import errno
import os

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_USERS = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST)


class GeoError(Exception):
    """What a user can mend: its text says what happened, to what, and what to do; `exit_code` is what `geo` ends with.

    Its children are in `crossgeo.errors`, so that a program may tell a photo that cannot be read (InputError) from a damaged index
    (StoreError). Anything else that is raised is a bug.

    ```python
    from crossgeo import GeoError, GeoSearch

    try:
        search = GeoSearch.open("no-such-city.geo")
    except GeoError as error:
        print(type(error).__name__, error.exit_code, error)
    ```
    """

    exit_code = 1


class UsageError(GeoError):
    """Arguments that do not fit together or are out of range."""

    exit_code = 2


class InputError(GeoError):
    """A photo, an orthophoto or another input file is missing, unreadable or not of a kind that we read."""

    exit_code = 3


class StoreError(GeoError):
    """An index is damaged: a file is missing, cut short or does not match its checksum."""

    exit_code = 4


class PartialError(GeoError):
    """The job finished, but some of its items failed."""

    exit_code = 5


class WeightsError(GeoError):
    """Model weights are missing, damaged or not those that were asked for."""

    exit_code = 6


class MismatchError(GeoError):
    """An index, model or file format does not go with the other."""

    exit_code = 7


class LimitError(GeoError):
    """An input or a resource passes a limit: picture size, memory, disk."""

    exit_code = 8


class LockedError(GeoError):
    """Another process is writing the same index."""

    exit_code = 9


class NotLocatedError(GeoError):
    """No place was found and the caller asked to be told by the exit code."""

    exit_code = 10


class EngineError(GeoError):
    """A compiled engine cannot be built or run here, or does not answer as torch does."""

    exit_code = 11


class ClusterError(GeoError):
    """A cluster cannot be reached, has nothing that the work needs, or lost what it needs to go on."""

    exit_code = 12


class WorkerDiedError(ClusterError):
    """The process that was asked ended before it answered; who asked may ask again."""


class WorkerBugError(ClusterError):
    """A bug that showed in a worker: its text names the node, and `traceback_text` says where it happened there."""

    exit_code = 1

    def __init__(self, message: str, traceback_text: str = "") -> None:
        super().__init__(message)
        self.traceback_text = traceback_text
        if traceback_text:
            self.add_note(f"In the worker:\n{traceback_text}")


def of_user(error: BaseException) -> GeoError | None:
    """Return what a user can mend of any error: a GeoError as it is, and a full disk, a path that is missing or forbidden, or too little
    memory as one; None for a bug.
    """
    if isinstance(error, GeoError):
        return error
    if isinstance(error, MemoryError):
        return LimitError("out of memory; give smaller pictures or close other programs")
    if isinstance(error, OSError) and error.errno in _FULL:
        return LimitError(f"{_file_of(error)}: {os.strerror(error.errno)}; make room and give the same command again")
    if isinstance(error, OSError) and error.errno in _USERS and error.filename is not None:
        return InputError(f"{_file_of(error)}: {os.strerror(error.errno)}; choose another path, or change its permissions")
    return None


def _file_of(error: OSError) -> str:
    return os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "the disk"
