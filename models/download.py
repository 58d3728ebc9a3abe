"""Files fetched over HTTP: resumed after a break, checked against a SHA-256, never believed half or changed."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit, urlunsplit

from crossgeo import disk
from crossgeo.errors import UsageError, WeightsError

TRIES, TIMEOUT_S = 6, 60.0
_BLOCK = 1 << 20
_STATED = "X-Linked-ETag"  # where Hugging Face says the SHA-256 of a large file, on the way to where it lies
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BEGINNING = re.compile(r"[0-9a-f]{8,64}")
_LENGTH = re.compile(r"[0-9]{1,18}")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_KEPT = "%/:?@!$&'()*+,;=~[]"  # what an address may hold as it is, besides letters and digits

Progress = Callable[[int, int], None]  # bytes done, bytes in all


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the web alone, never to where anybody may read along, and remembers what was stated on the way."""

    def __init__(self) -> None:
        self.stated: str | None = None

    def redirect_request(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.stated = _digest_in(headers) or self.stated
        leads_to = address_of(newurl)
        if req.full_url.startswith("https:") and leads_to.startswith("http:"):
            raise WeightsError(f"{req.full_url} leads to {leads_to}, where anybody on the way could change it; ask for an https address")
        return super().redirect_request(req, fp, code, msg, headers, leads_to)


class _Broken(Exception):
    """A connection that ended early; what came is kept. `reached` says that the server answered, `passes` that it may next time."""

    def __init__(self, says: object, *, reached: bool = True, passes: bool = True) -> None:
        super().__init__(_line(says))
        self.reached, self.passes = reached, passes


def fetch(
    url: str, out: Path, sha256: str | None, progress: Progress, wait: Callable[[float], None] = time.sleep, *, anew: bool = False
) -> str:
    """Bring a file to `out`, going on where an earlier call or a broken connection ended; return its SHA-256.

    `sha256` may be the first eight hex digits or more, as some publishers put them into the name; without it the server must state one,
    and where it states one, that counts too. What came is kept in `out`.part, unless it proves to be wrong; beside `out` stands
    `out`.json, by which `waiting` knows the file again: nothing is asked where it is whole already, unless `anew`.

    Raises UsageError for an address that is none or a digest that nobody states, WeightsError where the file cannot be had, is another
    or is being fetched by somebody else, LimitError on a full disk.
    """
    address, wanted = address_of(url), _wanted(sha256)
    with alone(out, url):
        if anew:
            with disk.guarded(out):
                _record(out).unlink(missing_ok=True)
                out.unlink(missing_ok=True)
        return waiting(url, out, wanted) or _bring(address, out, wanted, progress, wait)


def waiting(url: str, out: Path, sha256: str | None) -> str | None:
    """Return the SHA-256 of what an earlier call has brought; None where there is nothing, or it is not that file, or not `sha256`."""
    about, wanted = _read(_record(out)), _wanted(sha256)
    if not out.is_file() or about.get("url") != address_of(url):
        return None
    with disk.guarded(out):
        found = disk.sha256_of(out)
    return found if found == about.get("sha256") and _fits(found, wanted) else None


@contextmanager
def alone(path: Path, url: str) -> Iterator[None]:
    """Keep others from fetching `url` to `path` meanwhile; raise WeightsError where another process or thread is at it."""
    lock = path.with_name(path.name + ".lock")
    with disk.guarded(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with disk.guarded(lock):
            held = _held(handle)
        if not held:
            raise WeightsError(f"{url}: another process is fetching this; wait for it, then give the same command again")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _held(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(handle).st_nlink > 0  # else its holder removed it after we opened it, and it keeps out nobody


def address_of(url: str) -> str:
    """Return an address as servers are asked for it, percent-encoded; raise UsageError for one that is none."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode("idna").decode("ascii"), parts.port
        path, query = (quote(part, safe=_KEPT) for part in (parts.path, parts.query))
    except ValueError as error:
        raise UsageError(f"{url!r} is no address on the web ({error}); give one that begins with https://") from error
    if parts.scheme not in ("https", "http") or not _HOST.fullmatch(host) or parts.username is not None:
        raise UsageError(f"{url!r} is no address on the web that is open to all; give one that begins with https:// and a host's name")
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, host if port is None else f"{host}:{port}", path, query, ""))


def _wanted(sha256: str | None) -> str | None:
    if sha256 is not None and not _BEGINNING.fullmatch(sha256.lower()):
        raise UsageError(f"{sha256.lower()!r} is no SHA-256, nor the first eight or more of its hex digits")
    return None if sha256 is None else sha256.lower()


def _fits(found: str, *expected: str | None) -> bool:
    return all(found.startswith(one) for one in expected if one is not None)


def _bring(url: str, out: Path, wanted: str | None, progress: Progress, wait: Callable[[float], None]) -> str:
    part = _Part(out, url)
    most, stalled, reached = part.size(), 0, False
    while True:
        try:
            stated = _request(url, part, wanted, progress)
            break
        except _Broken as broken:
            reached = reached or broken.reached
            stalled = 0 if part.size() > most else stalled + 1  # what comes a second time is no progress
            most = max(most, part.size())
            if stalled >= TRIES or not (reached or broken.passes):
                raise _given_up(url, broken, reached, part.size() > 0) from broken
            wait(min(30.0, 0.5 * 2.0**stalled))
    found = part.sha256()
    for expected in (wanted, stated):
        if not _fits(found, expected):
            part.drop()
            not_that = f"not {expected}{'' if len(expected or '') == 64 else '...'}"
            raise WeightsError(
                f"{url}: what came has SHA-256 {found}, {not_that}, and was deleted; it was changed on the way or there: fetch it again, "
                "and do not use it if this comes back"
            )
    disk.write(_record(out), json.dumps({"url": url, "sha256": found}).encode())
    with disk.guarded(out):
        os.replace(part.path, out)  # noqa: PTH105
    part.drop()
    return found


def _given_up(url: str, broken: _Broken, reached: bool, some_came: bool) -> WeightsError:
    if not reached:
        return WeightsError(f"{urlsplit(url).hostname} cannot be reached ({broken}){'; what came is kept' if some_came else ''}")
    kept = "what came is kept, so give" if some_came else "give"
    return WeightsError(f"{url}: the connection breaks again and again ({broken}); {kept} the same command again later")


class _Part:
    """What has come of a file, and which one of those under its address it is of."""

    def __init__(self, out: Path, url: str) -> None:
        self.path = out.with_name(out.name + ".part")
        self.url = url
        self._about = _record(self.path)

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def sha256(self) -> str:
        with disk.guarded(self.path):
            return disk.sha256_of(self.path)

    def told(self, key: str) -> str | None:
        """Return the server's `tag` of what the part is of, or the digest that it `stated`; None where it cannot be gone on with."""
        about = _read(self._about)
        value = about.get(key) if about.get("url") == self.url else None
        return value if isinstance(value, str) else None

    def begin(self, tag: str | None, stated: str | None) -> None:
        self.drop()  # so that what was there never stands under another's tag
        disk.write(self._about, json.dumps({"url": self.url, "tag": tag, "stated": stated}).encode())

    def drop(self) -> None:
        with disk.guarded(self.path):
            self.path.unlink(missing_ok=True)
            self._about.unlink(missing_ok=True)


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _read(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _request(url: str, part: _Part, wanted: str | None, progress: Progress) -> str | None:
    """Ask once for what is missing and write what comes; return the digest that the server states."""
    redirects = _Redirects()
    headers = {"User-Agent": "crossgeo", "Accept-Encoding": "identity"}
    have, tag = part.size(), part.told("tag")
    if have and tag:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    else:
        have = 0
    try:
        answer = urllib.request.build_opener(redirects).open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            stated = _digest_in(error.headers) or redirects.stated or part.told("stated")
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            if (wanted or stated) and _fits(part.sha256(), wanted, stated):
                return stated  # an earlier call ended between the last byte and the check
            part.drop()
            raise _Broken("nothing is left to send") from error
        if error.code >= http.client.INTERNAL_SERVER_ERROR or error.code == http.client.TOO_MANY_REQUESTS:
            raise _Broken(f"{error.code} {error.reason}") from error
        raise WeightsError(f"{url}: {error.code} {_line(error.reason)}; is the address still right?") from error
    except urllib.error.URLError as error:
        raise _Broken(error.reason, reached=False, passes=isinstance(error.reason, TimeoutError | ConnectionError)) from error
    except (http.client.InvalidURL, ValueError) as error:
        raise UsageError(f"{url}: it leads to no address on the web ({_line(error)}); ask its publisher for another") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(error) from error
    with answer:
        stated = _digest_in(answer.headers) or redirects.stated
        if wanted is None and stated is None:
            raise UsageError(f"{url}: nobody says which SHA-256 it should have; ask its publisher and give it with --sha256")
        if wanted is not None and stated is not None and not stated.startswith(wanted):
            raise WeightsError(f"{url}: its server states SHA-256 {stated}, not {wanted}; it is another file, so ask its publisher which")
        if answer.status != http.client.PARTIAL_CONTENT:
            have = 0
        elif not (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
            part.drop()
            raise _Broken("the server sends another piece than was asked for")
        if not have:
            part.begin(_strong_tag(answer.headers), stated)
        _receive(answer, part, progress, have)
    return stated


def _receive(answer: Any, part: _Part, progress: Progress, have: int) -> None:
    """Write what comes behind what we have; an error of the network is _Broken, one of the disk is the disk's."""
    length = answer.headers.get("Content-Length")
    if length is not None and not _LENGTH.fullmatch(length.strip()):
        raise UsageError(f"{part.url}: its server says that its length is {length!r}, which is no number; ask its publisher for another")
    done, total = have, 0 if length is None else have + int(length)
    with disk.guarded(part.path):
        file = part.path.open("ab" if have else "wb")
    try:
        while block := _next_of(answer):
            with disk.guarded(part.path):
                file.write(block)
                file.flush()
            done += len(block)
            progress(done, max(total, done))
    finally:
        with disk.guarded(part.path):
            file.close()
    if done < total:
        raise _Broken(f"{total - done} bytes are missing")


def _next_of(answer: Any) -> bytes:
    try:
        return bytes(answer.read(_BLOCK))
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(error) from error


def _strong_tag(headers: Message) -> str | None:
    """Return the tag by which a server knows one file from another, byte by byte."""
    tag = headers.get("ETag")
    return tag if tag is not None and not tag.startswith("W/") else headers.get("Last-Modified")


def _digest_in(headers: Message) -> str | None:
    stated = (headers.get(_STATED) or "").removeprefix("W/").strip('"').lower()
    return stated if _SHA256.fullmatch(stated) else None


def _line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
