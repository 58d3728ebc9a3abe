"""models/download.py against a server that breaks, changes its mind and lies."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from crossgeo.errors import LimitError, UsageError, WeightsError
from crossgeo.models.download import fetch

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
        self.asked: list[str | None] = []  # the ranges

    def url(self, path: str = "model.pth") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    """Knows ranges, If-Range, redirects."""

    server: Server

    def do_GET(self) -> None:
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
        self.send_response(206 if first else 200)
        self.send_header("ETag", self.server.tag)
        self.send_header("Content-Length", str(len(content) - first))
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
    assert left(tmp_path / "new") == {"a.pth"}
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
    assert (tmp_path / "a.pth").read_bytes() == CONTENT and left(tmp_path) == {"a.pth"}


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
