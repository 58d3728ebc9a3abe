"""Walk one LMDB file of features, in a process that may die of it, before another opens it.

    python -m crossgeo.engine.feature_probe FILE

ends with 0 where the file is whole as far as LMDB reads it, 4 where LMDB finds it broken, by a signal where LMDB dies of it. Values are not
read: each has its own checksum.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import lmdb

WHOLE, FAILED, BROKEN = 0, 3, 4
_SCRATCH = b"\0" * 32  # a key that no SHA-256 gives


def probe(path: Path) -> int:
    """Read the pages that lead to all keys and those that list free ones; return WHOLE or BROKEN."""
    size = path.stat().st_size
    try:
        with lmdb.open(str(path), map_size=max(size, 1 << 20), subdir=False, create=False, max_dbs=0) as environment:
            if (environment.info()["last_pgno"] + 1) * environment.stat()["psize"] > size:
                return BROKEN  # cut short: reading past its end would be the death of whoever maps it
            with environment.begin() as transaction, transaction.cursor() as cursor:
                found = sum(1 for _ in cursor.iternext(keys=True, values=False))
            if found != environment.stat()["entries"]:
                return BROKEN
            scratch = environment.begin(write=True)  # looks for free pages, and gives them back
            try:
                scratch.put(_SCRATCH, bytes(1 << 16))
            except lmdb.MapFullError:
                pass
            finally:
                scratch.abort()
    except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PanicError):
        return BROKEN
    return WHOLE


def main() -> None:
    """Probe the file named on the command line."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        sys.exit(probe(Path(sys.argv[1])))
    except (lmdb.Error, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
