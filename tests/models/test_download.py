"""models/download.py against a server that breaks, changes its mind and lies."""

from __future__ import annotations

import errno
import hashlib
import http.client
import io
import json
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from crossgeo.errors import LimitError, UsageError, WeightsError
from crossgeo.models.download import TRIES, _Redirects, alone, fetch, waiting

CONTENT = np.random.default_rng(4).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one content; `breaks` holds after how many bytes each answer ends, the last one whole."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag = CONTENT, '"one"'
        self.breaks: list[int] = []
        self.statuses: list[int] = []  # to answer first
        self.stated = ""
        self.headers: dict[str, str] = {}  # told in place of the true ones
        self.paths: list[str] = []
        self.asked: list[str | None] = []  # the ranges

    def url(self, path: str = "model.pth") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    """Knows ranges, If-Range, redirects."""

    server: Server

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header(
                "Location", {"/away": self.server.url(), "/away/file": "file:///etc/passwd", "/away/ftp": "ftp://127.0.0.1/a"}[self.path]
            )
            if self.server.stated:
                self.send_header("X-Linked-ETag", f'"{self.server.stated}"')
            self.end_headers()
            return
        asked, content = self.headers.get("Range"), self.server.content
        self.server.asked.append(asked)
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        first = 0
        if asked and self.headers.get("If-Range") == self.server.tag:
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            if first >= len(content):
                self.send_error(416)
                return
        told = {"ETag": self.server.tag, "Content-Length": str(len(content) - first)}
        if first:
            told["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.send_response(206 if first else 200)
        for name, value in (told | self.server.headers).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        most = self.server.breaks.pop(0) if self.server.breaks else len(content)
        self.wfile.write(content[first : first + most])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def bring(server: Server, out: Path, sha256: str | None = SHA256, path: str = "model.pth") -> str:
    return fetch(server.url(path), out, sha256, lambda done, total: None, wait=lambda seconds: None)


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("said", [SHA256, SHA256.upper(), SHA256[:8]])
def test_a_file_comes_whole_with_its_progress(server: Server, tmp_path: Path, said: str) -> None:
    seen: list[tuple[int, int]] = []
    found = fetch(server.url(), tmp_path / "new" / "a.pth", said, lambda done, total: seen.append((done, total)))
    assert found == SHA256
    assert (tmp_path / "new" / "a.pth").read_bytes() == CONTENT
    assert left(tmp_path / "new") == {"a.pth", "a.pth.json"}
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)


def test_a_broken_connection_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.breaks = [1_000_000, 700_000]
    bring(server, tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-", "bytes=1700000-"]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server: Server, tmp_path: Path) -> None:
    server.breaks = [900_000, *([0] * 9)]
    with pytest.raises(WeightsError, match=r"breaks again and again .*; what came is kept, so give the same command again"):
        bring(server, tmp_path / "a.pth")
    assert left(tmp_path) == {"a.pth.part", "a.pth.part.json"}
    server.breaks = []
    bring(server, tmp_path / "a.pth")
    assert server.asked[-1] == "bytes=900000-"
    assert (tmp_path / "a.pth").read_bytes() == CONTENT and left(tmp_path) == {"a.pth", "a.pth.json"}


def test_a_file_that_changed_meanwhile_is_begun_anew(server: Server, tmp_path: Path) -> None:
    server.breaks = [900_000, *([0] * 9)]
    with pytest.raises(WeightsError, match="again and again"):
        bring(server, tmp_path / "a.pth")
    server.breaks, server.tag, server.content = [], '"two"', CONTENT[::-1]
    bring(server, tmp_path / "a.pth", hashlib.sha256(CONTENT[::-1]).hexdigest())
    assert (tmp_path / "a.pth").read_bytes() == CONTENT[::-1]


def test_what_is_not_what_it_should_be_is_deleted(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"what came has SHA-256 {SHA256}, not 00000000..., and was deleted"):
        bring(server, tmp_path / "a.pth", "00000000")
    assert left(tmp_path) == set()


def test_a_digest_stated_on_the_way_counts_where_none_is_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nobody says which SHA-256 it should have"):
        bring(server, tmp_path / "a.pth", None)
    server.stated = SHA256
    assert bring(server, tmp_path / "a.pth", None, "away") == SHA256
    server.stated = "0" * 64
    with pytest.raises(WeightsError, match=f"not {'0' * 64}, and was deleted"):
        bring(server, tmp_path / "b.pth", None, "away")


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    bring(server, tmp_path / "a.pth")
    server.statuses, server.asked = [404], []
    with pytest.raises(WeightsError, match="404 Not Found; is the address still right"):
        bring(server, tmp_path / "b.pth")
    assert len(server.asked) == 1


def test_no_network_and_no_address_are_said(tmp_path: Path, server: Server) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.invalid cannot be reached"):
        fetch("https://nowhere.invalid/a.pth", tmp_path / "a.pth", SHA256, lambda done, total: None)
    for wrong in ("file:///etc/passwd", "model.pth", "https://"):
        with pytest.raises(UsageError, match="is no address on the web"):
            fetch(wrong, tmp_path / "a.pth", SHA256, lambda done, total: None)
    with pytest.raises(UsageError, match="is no address on the web"):
        bring(server, tmp_path / "a.pth", path="away/ftp")
    with pytest.raises(WeightsError, match="is not allowed"):
        bring(server, tmp_path / "a.pth", path="away/file")
    with pytest.raises(UsageError, match="'abc' is no SHA-256"):
        bring(server, tmp_path / "a.pth", "abc")


def test_a_full_disk_is_said_and_what_came_is_kept(
    server: Server, tmp_path: Path, room_for: Callable[[int], AbstractContextManager[None]]
) -> None:
    with room_for(1_500_000), pytest.raises(LimitError, match=r"a\.pth\.part: .*free some room"):
        bring(server, tmp_path / "a.pth")
    assert (tmp_path / "a.pth.part").stat().st_size > 0
    bring(server, tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_what_waits_whole_is_taken_only_for_its_own_address_and_digest(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "a.pth"
    bring(server, out)
    for said in (SHA256, SHA256[:8], None):
        assert bring(server, out, said) == waiting(server.url(), out, said) == SHA256
    assert len(server.asked) == 1
    assert waiting(server.url("other.pth"), out, SHA256) is None
    assert waiting(server.url(), out, "0" * 64) is None
    bring(server, out, path="other.pth")
    assert len(server.asked) == 2 and waiting(server.url("other.pth"), out, SHA256) == SHA256
    fetch(server.url("other.pth"), out, SHA256, lambda done, total: None, anew=True)
    assert len(server.asked) == 3
    out.write_bytes(CONTENT[:-1] + b"x")
    assert waiting(server.url("other.pth"), out, None) is None
    bring(server, out, path="other.pth")
    assert out.read_bytes() == CONTENT
    (tmp_path / "a.pth.json").unlink()
    assert waiting(server.url("other.pth"), out, SHA256) is None


def test_two_at_once_do_not_share_what_came(server: Server, tmp_path: Path) -> None:
    said: list[str] = []

    def second(done: int, total: int) -> None:
        def call() -> None:
            with pytest.raises(WeightsError, match="another process is fetching this; wait for it, then give the same command again") as no:
                bring(server, tmp_path / "a.pth")
            said.append(str(no.value))

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    assert fetch(server.url(), tmp_path / "a.pth", SHA256, second) == SHA256
    assert len(said) >= 3 and len(server.asked) == 1
    assert left(tmp_path) == {"a.pth", "a.pth.json"}
    with alone(tmp_path / "b.pth", server.url()), pytest.raises(WeightsError, match="another process"):
        bring(server, tmp_path / "b.pth")
    bring(server, tmp_path / "b.pth")


def test_another_process_that_fetches_keeps_this_one_out_until_it_ends(server: Server, tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from crossgeo.models.download import alone
with alone(Path(sys.argv[1]), ""):
    print("held", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a.pth")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(WeightsError, match="another process is fetching this"):
            bring(server, tmp_path / "a.pth")
        other.kill()
    bring(server, tmp_path / "a.pth")
    assert left(tmp_path) == {"a.pth", "a.pth.json"}


@pytest.mark.parametrize(
    "wrong",
    [
        "http://[::1/x.pth",
        "https://example.org:99999/x.pth",
        "https://a..b/x.pth",
        "https://me:word@example.org/x.pth",
        "https://a b/x.pth",
    ],
)
def test_an_address_that_is_none_is_named(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(UsageError, match="is no address on the web") as no:
        fetch(wrong, tmp_path / "a.pth", SHA256, lambda done, total: None)
    assert repr(wrong) in str(no.value) and left(tmp_path) == set()


def test_an_address_is_asked_for_percent_encoded(server: Server, tmp_path: Path) -> None:
    bring(server, tmp_path / "a.pth", path="ä b%20c.pth?x=ü&y=1")
    assert server.paths == ["/%C3%A4%20b%20c.pth?x=%C3%BC&y=1"]


def test_a_length_that_is_no_number_is_refused_and_none_is_done_without(server: Server, tmp_path: Path) -> None:
    for length in ("many", "-5"):
        server.headers = {"Content-Length": length}
        with pytest.raises(UsageError, match=f"{server.url()}: its server says that its length is '{length}', which is no number"):
            bring(server, tmp_path / "a.pth")
    server.headers = {"Content-Length": ""}
    assert bring(server, tmp_path / "a.pth") == SHA256


def test_a_host_that_refuses_cannot_be_reached(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url, waits = f"http://127.0.0.1:{free.getsockname()[1]}/a.pth", list[float]()
        with pytest.raises(WeightsError, match=r"^127\.0\.0\.1 cannot be reached \(.*refused\)$"):
            fetch(url, tmp_path / "a.pth", SHA256, lambda done, total: None, waits.append)
    assert len(waits) == TRIES - 1


def test_a_server_that_sends_nothing_is_not_said_to_have_sent_some(server: Server, tmp_path: Path) -> None:
    server.statuses = [503] * TRIES
    with pytest.raises(WeightsError, match=r"again and again \(503 Service Unavailable\); give the same command again later"):
        bring(server, tmp_path / "a.pth")


@pytest.mark.parametrize("piece", ["bytes 5-10/3000000", ""])
def test_another_piece_than_was_asked_for_is_not_taken(server: Server, tmp_path: Path, piece: str) -> None:
    server.breaks, server.headers = [900_000], {"Content-Range": piece}
    bring(server, tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=900000-", None]


def test_a_redirect_from_https_to_http_is_refused() -> None:
    request = urllib.request.Request("https://example.org/a.pth")
    ask = _Redirects()
    with pytest.raises(WeightsError, match=r"https://example\.org/a\.pth leads to http://example\.org/b\.pth, where anybody on the way"):
        ask.redirect_request(request, io.BytesIO(), 302, "Found", Message(), "http://example.org/b.pth")
    assert ask.redirect_request(request, io.BytesIO(), 302, "Found", Message(), "https://example.org/b.pth") is not None


@pytest.mark.parametrize("error", [ssl.SSLError("bad record"), OSError(errno.EHOSTUNREACH, "No route to host")])
def test_an_error_of_the_network_is_not_one_of_the_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    read, fails = http.client.HTTPResponse.read, [error]

    def failing(self: http.client.HTTPResponse, amt: int | None = None) -> bytes:
        if fails and server.paths:
            raise fails.pop()
        return read(self, amt)

    monkeypatch.setattr(http.client.HTTPResponse, "read", failing)
    assert bring(server, tmp_path / "a.pth") == SHA256
    fails[:] = [error] * 99
    with pytest.raises(WeightsError, match=f"breaks again and again .*{error.args[-1]}"):
        bring(server, tmp_path / "b.pth")


def killed_before_the_check(out: Path, content: bytes, url: str, **told: str) -> None:
    out.with_name(out.name + ".part").write_bytes(content)
    out.with_name(out.name + ".part.json").write_text(json.dumps({"url": url, "tag": '"one"', **told}))


def test_what_came_whole_before_a_kill_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    killed_before_the_check(tmp_path / "a.pth", CONTENT, server.url())
    assert bring(server, tmp_path / "a.pth") == SHA256
    killed_before_the_check(tmp_path / "b.pth", CONTENT, server.url(), stated=SHA256)
    assert bring(server, tmp_path / "b.pth", None) == SHA256
    assert server.asked == [f"bytes={len(CONTENT)}-"] * 2
    killed_before_the_check(tmp_path / "c.pth", CONTENT[::-1], server.url())
    assert bring(server, tmp_path / "c.pth") == SHA256
    assert server.asked[2:] == [f"bytes={len(CONTENT)}-", None]


@pytest.mark.parametrize("tag", ['"one"', ""])
def test_a_length_that_never_comes_ends_with_a_message(server: Server, tmp_path: Path, tag: str) -> None:
    server.headers = {"Content-Length": str(len(CONTENT) + 9), "ETag": tag}
    with pytest.raises(WeightsError, match="the connection breaks again and again"):
        bring(server, tmp_path / "a.pth", "0" * 64)
    assert len(server.asked) <= 2 * TRIES


def test_a_told_and_a_stated_digest_both_count(server: Server, tmp_path: Path) -> None:
    server.stated = SHA256[:8] + "0" * 56
    with pytest.raises(WeightsError, match=f"what came has SHA-256 {SHA256}, not {server.stated}, and was deleted"):
        bring(server, tmp_path / "a.pth", SHA256[:8], "away")
    server.stated, server.asked = SHA256, []
    with pytest.raises(WeightsError, match=f"its server states SHA-256 {SHA256}, not 00000000; it is another file"):
        bring(server, tmp_path / "a.pth", "00000000", "away")
    assert left(tmp_path) == set()
    assert bring(server, tmp_path / "a.pth", SHA256[:8], "away") == SHA256
