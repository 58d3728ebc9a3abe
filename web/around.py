"""What stands around every request: its id, who may ask, how often, the headers of every answer, and what is counted."""

from __future__ import annotations

import logging
import re
import time
import uuid
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossgeo.web.keys import Keys, needed
from crossgeo.web.metrics import Metrics
from crossgeo.web.problems import Problem, response
from crossgeo.web.rates import Rates

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; worker-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
LOOK_COST = 0.1  # of a request that is no question: a map asks for many tiles
_LOG = logging.getLogger("crossgeo.web")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUESTIONS = ("/v1/locate", "/v1/explain", "/v1/jobs")
_OPEN = ("/livez", "/readyz")  # whoever keeps the service running asks these by any name, and as often as it likes


class Around:
    """Middleware around the application."""

    def __init__(self, app: ASGIApp, keys: Keys, rates: Rates, hosts: frozenset[str], metrics: Metrics) -> None:
        self._app, self._keys, self._rates, self._hosts, self._metrics = app, keys, rates, hosts, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = MutableHeaders(scope=message)
                own["X-Request-Id"] = request_id
                for name, value in SECURITY.items():
                    own.setdefault(name, value)
                own.append("Server-Timing", f"app;dur={(time.perf_counter() - began) * 1000:.1f}")
            await send(message)

        with self._metrics.being_answered():
            try:
                self._admit(scope, headers)
            except Problem as problem:
                await response(problem, request_id)(scope, receive, sent)
            else:
                await self._guarded(scope, receive, sent)
            finally:
                self._metrics.answered(scope["method"], _route_of(scope), status, time.perf_counter() - began)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application answer, and a bug of ours be a problem, too."""
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception:
            request_id = scope["state"]["request_id"]
            _LOG.exception("request %s: %s %s", request_id, scope["method"], scope["path"])
            if begun:
                raise
            problem = Problem("internal", f"this is a bug; please report it with what the service's log says of request {request_id}")
            await response(problem, request_id)(scope, receive, send)

    def _admit(self, scope: Scope, headers: Headers) -> None:
        """Raise Problem for a request that is not to be answered; note in its state who asks."""
        path, method = scope["path"], scope["method"]
        if path in _OPEN:
            return
        host = headers.get("host", "")
        if _without_port(host) not in self._hosts:
            raise Problem("misdirected", f"this service is not called {host[:100]!r}; name it with --allow-host where it should be")
        origin = headers.get("origin")
        if method not in ("GET", "HEAD") and (
            (origin is not None and urlsplit(origin).netloc != host) or headers.get("sec-fetch-site") in ("cross-site", "same-site")
        ):
            raise Problem("cross-origin", f"a page of {(origin or 'another site')[:100]} may not ask; open the page that is at / here")
        address = scope["client"][0] if scope.get("client") else "unknown"
        client, role = f"address {address}", needed(method, path)
        if len(self._keys):
            key = self._keys.find(headers.get("authorization"))
            if key is not None:
                client = key.name
            if role and key is None:
                self._rates.take(client, 1.0)  # guessing is asking
                raise Problem("unauthorized", "send a key in the header `Authorization: Bearer KEY`")
            if key is not None and key.role < role:
                raise Problem("forbidden", "this key may ask, and not start or cancel jobs; use one with the role admin")
        scope["state"]["client"] = client
        self._rates.take(client, 1.0 if method == "POST" and path in _QUESTIONS else LOOK_COST)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower().rstrip(".")


def _route_of(scope: Scope) -> str:
    """Return the template of the route that answered: there are few of those, and addresses without end."""
    return str(getattr(scope.get("route"), "path", "")) or "none"
