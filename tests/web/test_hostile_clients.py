"""Clients that trickle, stall, leave, lie and flood: each is ended in time, and others are answered meanwhile."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crossgeo.web.served import Indexes
from crossgeo.web.settings import Limits, Settings

QUICK = replace(
    Limits(), header_s=0.4, body_grace_s=0.4, body_bytes_per_s=50_000.0, write_s=0.5, keep_alive_s=1.0, connections=40, photo_bytes=300_000,
    header_bytes=4096,
)  # fmt: skip
HEAD = b"POST /v1/locate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"


@pytest.fixture
def service(indexes: Indexes, tmp_path: Path, serving: Any) -> Iterator[Any]:
    with serving(indexes, Settings(tmp_path / "jobs", QUICK)) as running:
        yield running


def answer_of(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Read an answer to the end of the connection, which is a reset where the client still sends: its status and its problem."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionResetError:
        if not data:
            raise
    head, _, body = data.partition(b"\r\n\r\n")
    return (int(head.split()[1]), json.loads(body)) if data else (0, {})


def test_headers_that_trickle_are_ended_at_their_deadline(service: Any) -> None:
    with service.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n")
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < 10:
                connection.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - began < 5


def test_a_connection_that_says_nothing_is_told_so_and_closed(service: Any) -> None:
    with service.connect() as connection:
        status, problem = answer_of(connection)
    assert status == 408 and problem["code"] == "timeout"


def test_a_body_that_trickles_is_ended_by_its_rate(service: Any) -> None:
    with service.connect() as connection:
        connection.sendall(HEAD + b'Content-Length: 100000\r\n\r\n--x\r\nContent-Disposition: form-data; name="top"\r\n\r\n')
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.05):
                try:
                    connection.sendall(b"-")
                except OSError:
                    return

        sending = threading.Thread(target=trickle)
        sending.start()
        status, problem = answer_of(connection)
        stop.set()
        sending.join()
    assert status == 408 and problem["code"] == "timeout" and "KB/s" in problem["detail"]


def test_a_body_shorter_than_its_length_is_ended(service: Any) -> None:
    with service.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 5000\r\n\r\n--x")
        assert answer_of(connection)[0] == 408


def test_a_large_body_is_refused_by_its_length_or_as_it_comes(service: Any) -> None:
    with service.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 50000000\r\nExpect: 100-continue\r\n\r\n")
        status, problem = answer_of(connection)
    assert status == 413 and problem["code"] == "too-large"
    large = service.post("/v1/locate", files={"photo": ("a.png", b"\0" * 2_000_000)})
    assert large.status_code == 413 and large.json()["code"] == "too-large"

    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
        for _ in range(40):
            yield b"\0" * 50_000

    chunked = service.post("/v1/locate", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert chunked.status_code == 413


def test_what_is_no_http_or_has_long_headers_is_refused(service: Any) -> None:
    for said, code in ((b"\x16\x03\x01 hello\r\n\r\n", "bad-request"), (b"GET / HTTP/1.1\r\nA: " + b"a" * 20_000, "headers-too-large")):
        with service.connect() as connection:
            connection.sendall(said)
            assert answer_of(connection)[1]["code"] == code
    with service.connect() as connection:
        connection.sendall(b"POST /v1/locate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n")
        assert answer_of(connection)[1]["code"] == "bad-request"


def test_idle_connections_make_room_for_those_that_ask(service: Any) -> None:
    with ExitStack() as idle:
        for _ in range(QUICK.connections * 3):
            idle.enter_context(service.connect())
        assert service.get("/livez").status_code == 200
        assert len(service.server.server_state.connections) <= QUICK.connections


def test_clients_that_leave_take_their_questions_back(service: Any, photo_file: bytes) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n' + photo_file + b"\r\n--x--\r\n"
    whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    (served,) = service.indexes
    free = threading.Event()
    holding = served.answering.run(lambda search: free.wait(30))  # its one worker
    for cut in (len(HEAD) - 5, len(HEAD) + 40, len(whole) // 2, len(whole)):
        for half in (False, True):
            connection = service.connect()
            connection.sendall(whole[:cut])
            if half:
                connection.shutdown(socket.SHUT_WR)
            else:
                connection.close()
            if half:
                connection.settimeout(5)
                while connection.recv(65536):
                    pass
                connection.close()
    until = time.monotonic() + 10
    state = service.server.server_state
    while (state.connections or state.tasks) and time.monotonic() < until:
        time.sleep(0.02)
    assert not state.connections and not state.tasks
    free.set()
    assert holding.result(10)
    answered = service.post("/v1/locate", files={"photo": ("a.png", photo_file)}, data={"heading_deg": "0", "height_m": "50"})
    assert answered.status_code == 200
    assert served.answering.stats().answered == 2  # what held the worker, and this


def test_a_client_that_takes_nothing_is_dropped(service: Any) -> None:
    connection = service.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    until = time.monotonic() + 20
    with pytest.raises(OSError):
        while time.monotonic() < until:
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20)
            time.sleep(0.01)
    connection.close()
    assert service.get("/livez").status_code == 200


def test_a_full_queue_refuses_and_says_when_to_ask_again(indexes: Indexes, tmp_path: Path, serving: Any, photo_file: bytes) -> None:
    (served,) = indexes
    limits = replace(Limits(), waiting=2, waiting_of_client=40)
    free = threading.Event()
    with serving(indexes, Settings(tmp_path / "jobs", limits)) as service:
        holding = [served.answering.run(lambda search: free.wait(60)) for _ in range(3)]  # one in the worker, two that wait
        refused = service.post("/v1/locate", files={"photo": ("a.png", photo_file)})
        assert refused.status_code == 503 and refused.json()["code"] == "busy" and int(refused.headers["retry-after"]) >= 1
        free.set()
        assert [one.result(10) for one in holding] == [True] * 3


def test_many_at_once_are_answered_or_told_to_wait(indexes: Indexes, tmp_path: Path, serving: Any, photo_file: bytes) -> None:
    limits = replace(Limits(), waiting=64, waiting_of_client=20)
    asked = {"heading_deg": "0", "height_m": "50", "fov_deg": "62"}
    seen: list[tuple[int, str | None]] = []
    with serving(indexes, Settings(tmp_path / "jobs", limits)) as service:

        def ask() -> None:
            answer = service.post("/v1/locate", files={"photo": ("a.png", photo_file)}, data=asked)
            seen.append((answer.status_code, answer.headers.get("retry-after")))

        threads = [threading.Thread(target=ask) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(seen) == 40
    assert {status for status, _ in seen} <= {200, 429} and sum(status == 200 for status, _ in seen) >= 20
    assert all(wait is not None for status, wait in seen if status == 429)
