"""API keys: who may only ask, and who may also start and cancel jobs; only hashes are held, and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from crossgeo.errors import UsageError

SHORTEST = 16  # characters
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


class Role(IntEnum):
    """What a client may do; each may do what those before it may."""

    NOBODY = 0
    READ = 1
    ADMIN = 2


@dataclass(frozen=True)
class Key:
    """A key that is known: a name for it, what it may do, the SHA-256 of its text."""

    name: str
    role: Role
    digest: bytes


class Keys:
    """The keys that a service knows; without any, everybody who reaches it may do everything."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    @classmethod
    def parse(cls, text: str, where: str) -> Keys:
        """Read keys, a line each: `read KEY` or `admin KEY`, KEY its text or `sha256:` and its hash; `#` begins a comment.

        Raise UsageError, which names the line and never the key, for any other line.
        """
        keys = []
        for number, line in enumerate(text.splitlines(), start=1):
            parts = line.partition("#")[0].split()
            if not parts:
                continue
            if len(parts) != 2 or parts[0] not in ("read", "admin"):
                raise UsageError(f"{where}, line {number}: write `read KEY` or `admin KEY`")
            hashed = _HASH.fullmatch(parts[1])
            if hashed is None and (len(parts[1]) < SHORTEST or not parts[1].isascii()):
                raise UsageError(
                    f"{where}, line {number}: a key has at least {SHORTEST} ASCII characters; make one with: openssl rand -hex 24"
                )
            digest = bytes.fromhex(hashed[1]) if hashed else hashlib.sha256(parts[1].encode()).digest()
            keys.append(Key(f"key-{number}", Role.READ if parts[0] == "read" else Role.ADMIN, digest))
        if not keys:
            raise UsageError(f"{where}: holds no key; write `read KEY` or `admin KEY`, a line each")
        return cls(keys)

    def find(self, header: str | None) -> Key | None:
        """Return the key that an Authorization header holds; None where it holds none that is known."""
        scheme, _, given = (header or "").partition(" ")
        digest = hashlib.sha256(given.strip().encode()).digest()
        found = None
        for key in self._keys:  # all of them, whichever it is
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found if scheme.lower() == "bearer" else None


def needed(method: str, path: str) -> Role:
    """Return what a client must be allowed to for a request."""
    if path.startswith("/v1/jobs") and method not in ("GET", "HEAD"):
        return Role.ADMIN
    return Role.READ if path.startswith("/v1/") or path == "/metrics" else Role.NOBODY
