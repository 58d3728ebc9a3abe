"""Files fetched over HTTP: resumed after a break, checked against a SHA-256, never believed half or changed."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from crossgeo import disk
from crossgeo.errors import UsageError, WeightsError

TRIES, TIMEOUT_S = 6, 60.0
_BLOCK = 1 << 20
_STATED = "X-Linked-ETag"  # where Hugging Face says the SHA-256 of a large file, on the way to where it lies
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BEGINNING = re.compile(r"[0-9a-f]{8,64}")

Progress = Callable[[int, int], None]  # bytes done, bytes in all


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the web alone, and remembers what was stated on the way."""

    def __init__(self) -> None:
        self.stated: str | None = None

    def redirect_request(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.stated = _digest_in(headers) or self.stated
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Broken(Exception):
    """A connection that ended early; what came is kept."""


def fetch(url: str, out: Path, sha256: str | None, progress: Progress, wait: Callable[[float], None] = time.sleep) -> str:
    """Bring a file to `out`, going on where an earlier call or a broken connection ended; return its SHA-256.

    `sha256` may be the first eight hex digits or more, as some publishers put them into the name; without it the server must state one.
    Raises UsageError for an address that is none or a digest that nobody states, WeightsError where the file cannot be had or is another,
    LimitError on a full disk. What came is kept in `out`.part, unless it proves to be wrong.
    """
    _check_address(url)
    if sha256 is not None and not _BEGINNING.fullmatch(sha256 := sha256.lower()):
        raise UsageError(f"{sha256!r} is no SHA-256, nor the first eight or more of its hex digits")
    part = _Part(out)
    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects)
    stalled = 0
    while True:
        before = part.size()
        try:
            with disk.guarded(part.path):
                stated = _request(opener, redirects, url, part, progress, sha256)
            break
        except _Broken as broken:
            stalled = 0 if part.size() > before else stalled + 1
            if stalled >= TRIES:
                raise WeightsError(
                    f"{url}: the connection breaks again and again ({broken}); what came is kept, so give the same command again later"
                ) from broken
            wait(min(30.0, 0.5 * 2.0**stalled))
    expected = sha256 or stated
    assert expected is not None  # _request has seen to it
    found = disk.sha256_of(part.path)
    if not found.startswith(expected):
        part.drop()
        raise WeightsError(
            f"{url}: what came has SHA-256 {found}, not {expected}{'' if len(expected) == 64 else '...'}, and was deleted; it was changed "
            "on the way or there: fetch it again, and do not use it if this comes back"
        )
    with disk.guarded(out):
        os.replace(part.path, out)  # noqa: PTH105
    part.drop()
    return found


class _Part:
    """What has come of a file, and which one of those under its address it is of."""

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(out.name + ".part")
        self._about = out.with_name(out.name + ".part.json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def tag(self, url: str) -> str | None:
        """Return the server's tag of what the part is of; None where it cannot be gone on with."""
        try:
            about = json.loads(self._about.read_text())
        except (OSError, ValueError):
            return None
        return about.get("tag") if isinstance(about, dict) and about.get("url") == url else None

    def begin(self, url: str, tag: str | None) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        disk.write(self._about, json.dumps({"url": url, "tag": tag}).encode())

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)


def _request(
    opener: urllib.request.OpenerDirector, redirects: _Redirects, url: str, part: _Part, progress: Progress, sha256: str | None
) -> str | None:
    """Ask once for what is missing and write what comes; return the digest that the server states."""
    headers = {"User-Agent": "crossgeo", "Accept-Encoding": "identity"}
    have, tag = part.size(), part.tag(url)
    if have and tag:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    try:
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.drop()
            raise _Broken("nothing is left to send") from error
        if error.code >= http.client.INTERNAL_SERVER_ERROR or error.code == http.client.TOO_MANY_REQUESTS:
            raise _Broken(f"{error.code} {error.reason}") from error
        raise WeightsError(f"{url}: {error.code} {error.reason}; is the address still right?") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError | ConnectionError):
            raise _Broken(str(error.reason)) from error
        raise WeightsError(f"{urlsplit(url).hostname} cannot be reached ({error.reason})") from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _Broken(str(error) or type(error).__name__) from error
    with answer:
        stated = _digest_in(answer.headers) or redirects.stated
        if sha256 is None and stated is None:
            raise UsageError(f"{url}: nobody says which SHA-256 it should have; ask its publisher and give it with --sha256")
        _receive(answer, url, part, progress, have if answer.status == http.client.PARTIAL_CONTENT else 0)
    return stated


def _receive(answer: Any, url: str, part: _Part, progress: Progress, have: int) -> None:
    if not have:
        part.begin(url, _strong_tag(answer.headers))
    length = answer.headers.get("Content-Length")
    total = have + int(length) if length is not None else 0
    with part.path.open("ab" if have else "wb") as file:
        done = have
        try:
            while block := answer.read(_BLOCK):
                file.write(block)
                done += len(block)
                progress(done, max(total, done))
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise _Broken(str(error) or type(error).__name__) from error
    if done < total:
        raise _Broken(f"{total - done} bytes are missing")


def _strong_tag(headers: Message) -> str | None:
    """Return the tag by which a server knows one file from another, byte by byte."""
    tag = headers.get("ETag")
    return tag if tag is not None and not tag.startswith("W/") else headers.get("Last-Modified")


def _digest_in(headers: Message) -> str | None:
    stated = (headers.get(_STATED) or "").removeprefix("W/").strip('"').lower()
    return stated if _SHA256.fullmatch(stated) else None


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise UsageError(f"{url!r} is no address on the web; give one that begins with https://")
