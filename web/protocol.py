"""HTTP/1.1 connections that nobody can hold: deadlines for headers and for taking an answer, and a cap on how many are open.

uvicorn waits for headers and bodies for ever. Here a request's headers have a deadline, a client that takes nothing of its answer is
dropped, and at the cap the connection that has been waiting longest for its client makes room for a new one. Bodies have their deadline in
`receiving.py`, where their rate is known.
"""

from __future__ import annotations

import asyncio
import http
import json
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from crossgeo.web.problems import KINDS, MEDIA_TYPE, body_of
from crossgeo.web.settings import Limits


def protocol_with(limits: Limits) -> type[asyncio.Protocol]:
    """Return the protocol class for uvicorn, with its limits."""

    class Guarded(GuardedProtocol):
        guard = limits

    return Guarded


class GuardedProtocol(H11Protocol):
    """One connection."""

    guard = Limits()

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._headers_due: asyncio.TimerHandle | None = None
        self._taken_due: asyncio.TimerHandle | None = None
        self._since = time.monotonic()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for it, or refuse it."""
        super().connection_made(transport)
        if len(self.connections) > self.guard.connections and not self._make_room():
            self._end_with("busy", f"{self.guard.connections} connections are open, which is the limit; ask again later", retry_after_s=5)
            return
        self._headers_due = self.loop.call_later(self.guard.header_s, self._headers_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._drop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, and start or stop the clock of the headers."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.waits_for_headers:
            if self._headers_due is None:
                self._since = time.monotonic()
                self._headers_due = self.loop.call_later(self.guard.header_s, self._headers_late)
        elif self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    @property
    def waits_for_headers(self) -> bool:
        """Whether no request has begun, or only a part of its headers is there."""
        return self.conn.their_state is h11.IDLE and (self.cycle is None or self.cycle.response_complete)

    @property
    def waits_for_client(self) -> bool:
        """Whether nothing is being done for the client: what it asks has not arrived whole."""
        return self.waits_for_headers or self.conn.their_state is h11.SEND_BODY

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or has too many headers."""
        waiting = len(self.conn.trailing_data[0])
        if waiting >= self.guard.header_bytes:
            self._end_with("headers-too-large", f"the headers are longer than {self.guard.header_bytes} bytes; send fewer")
        else:
            self._end_with("bad-request", "the request is not HTTP/1.1 as RFC 9112 has it; check its first line and its headers")

    def pause_writing(self) -> None:
        """Start the clock of a client that takes nothing."""
        super().pause_writing()
        if self._taken_due is None:
            self._taken_due = self.loop.call_later(self.guard.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop it."""
        super().resume_writing()
        if self._taken_due is not None:
            self._taken_due.cancel()
            self._taken_due = None

    def _make_room(self) -> bool:
        """End the connection that has been waiting longest for its client; say whether there was one."""
        idle = [other for other in self.connections if isinstance(other, GuardedProtocol) and other is not self and other.waits_for_client]
        idle = [other for other in idle if not other.transport.is_closing()]
        if not idle:
            return False
        oldest = min(idle, key=lambda other: other._since)
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    def _headers_late(self) -> None:
        self._headers_due = None
        if self.waits_for_headers:
            self._end_with("timeout", f"no request arrived within {self.guard.header_s:g} s; send its headers at once")

    def _end_with(self, code: str, detail: str, retry_after_s: int | None = None) -> None:
        """Answer with a problem, where nothing has been answered yet, and close."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            status = KINDS[code].status
            body = json.dumps(body_of(code, detail, None)).encode()
            lines = [
                f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}", f"content-type: {MEDIA_TYPE}", f"content-length: {len(body)}",
                "connection: close", *([] if retry_after_s is None else [f"retry-after: {retry_after_s}"]), "", "",
            ]  # fmt: skip
            self.transport.write("\r\n".join(lines).encode() + body)
        self.transport.close()
        self.loop.call_later(1.0, self.transport.abort)  # where the client takes nothing, closing would wait for it

    def _drop_timers(self) -> None:
        for timer in (self._headers_due, self._taken_due):
            if timer is not None:
                timer.cancel()
        self._headers_due = self._taken_due = None
