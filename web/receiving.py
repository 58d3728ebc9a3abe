"""Bodies of requests: how large they may be, how slowly they may come, and what is left of one when it was answered early."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossgeo.web.problems import KINDS, Problem
from crossgeo.web.settings import Limits

SLOW = KINDS["timeout"].status
ROOM_BYTES = 1 << 20  # for the other fields of a form, beside the photos
SMALL_BYTES = 64 << 10  # of a body where none is expected
_LISTEN_S = 2.0  # to a client that goes on sending, so that it comes to read the answer; a close would cut it off


class Receiving:
    """Middleware around the application."""

    def __init__(self, app: ASGIApp, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._limits, self._clock = app, limits, clock
        self._held = 0  # bytes of bodies that are being received, of all requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body watched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(self, scope, receive, send)
        try:
            await self._app(scope, body.receive, body.send)
        finally:
            self._held -= body.held

    def most_bytes(self, scope: Scope) -> int:
        """Return how large the body of a request may be."""
        if scope["method"] == "POST" and scope["path"] in ("/v1/locate", "/v1/explain"):
            return self._limits.photo_bytes + ROOM_BYTES
        if scope["method"] == "POST" and scope["path"] == "/v1/jobs":
            return self._limits.job_bytes + ROOM_BYTES
        return SMALL_BYTES

    def hold(self, count: int) -> None:
        """Count bytes that arrived; raise Problem where all bodies together are too large."""
        if self._held + count > self._limits.receiving_bytes:
            raise Problem("busy", "too much is being uploaded at once; send it again later", retry_after_s=10)
        self._held += count


class _Body:
    """The body of one request."""

    def __init__(self, around: Receiving, scope: Scope, receive: Receive, send: Send) -> None:
        self._around, self._receive, self._send = around, receive, send
        self._limits, self._clock = around._limits, around._clock
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        self._length = int(length) if length.isdigit() else None
        self._most = around.most_bytes(scope)
        self._asks_first = b"expect" in headers
        self._whole = self._length in (None, 0) and b"transfer-encoding" not in headers
        self._began, self._received, self.held = self._clock(), 0, 0

    async def receive(self) -> Message:
        """Return the next piece; raise Problem where the body is too large or comes too slowly."""
        if self._whole:
            return await self._receive()
        if self._length is not None and self._length > self._most:
            raise self._too_large()
        allowed_s = self._limits.body_grace_s + self._received / self._limits.body_bytes_per_s
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._began + allowed_s - self._clock()))
        except TimeoutError:
            rate = self._limits.body_bytes_per_s / 1024
            detail = f"{self._received} bytes arrived in {allowed_s:.0f} s, which is under {rate:g} KB/s; send it again on a faster line"
            raise Problem("timeout", detail) from None
        count = len(message.get("body", b""))
        self._received += count
        if self._received > self._most:
            raise self._too_large()
        self._around.hold(count)
        self.held += count
        self._whole = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Pass an answer on; one that comes before the body is whole ends the connection."""
        if message["type"] == "http.response.start" and not self._whole:
            message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            if message["status"] != SLOW and (self._received or not self._asks_first):
                await self._listen()
        await self._send(message)

    async def _listen(self) -> None:
        until = self._clock() + _LISTEN_S
        while not self._whole and (left_s := until - self._clock()) > 0.0:
            try:
                message = await asyncio.wait_for(self._receive(), left_s)
            except TimeoutError:
                return
            self._whole = message["type"] == "http.disconnect" or not message.get("more_body", False)

    def _too_large(self) -> Problem:
        return Problem("too-large", f"the body is larger than {self._most / 1e6:.1f} MB, which is the limit here; send less")
