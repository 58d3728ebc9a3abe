"""The server: uvicorn over the application, with connections that cannot be held, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import uvicorn

from crossgeo.errors import InputError
from crossgeo.web.app import Application, make_app
from crossgeo.web.keys import Keys
from crossgeo.web.protocol import protocol_with
from crossgeo.web.served import Indexes
from crossgeo.web.settings import Limits, Settings

BACKLOG = 512  # connections that nobody has accepted yet
FILES = 200  # that are open beside connections: indexes, caches, uploads, the decoders' pipes


class Server(uvicorn.Server):
    """uvicorn's server; SIGTERM and SIGINT have it answer what it was asked, and a second one end at once."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, answer what was asked, and end the jobs' streams, which would never end by themselves."""
        app = self.config.app
        assert isinstance(app, Application)
        app.stop()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen to signals; once it has stopped, being told to stop is no failure, so none is raised again."""
        before = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, self.handle_exit)
        except ValueError:  # not the main thread: who started it there stops it
            pass
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: object) -> None:
        """Stop, or stop at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


def make_server(indexes: Indexes, settings: Settings, keys: Keys | None = None) -> Server:
    """Return the server over open indexes, which stay the caller's to close. To be made where its event loop runs or will run."""
    limits = fitting(settings.limits)
    config = uvicorn.Config(
        make_app(indexes, replace(settings, limits=limits), keys),
        http=protocol_with(limits),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),  # uvicorn would believe whoever asks from this machine, and the environment
        forwarded_allow_ips=list(settings.proxies),
        h11_max_incomplete_event_size=limits.header_bytes,
        timeout_keep_alive=int(limits.keep_alive_s),
        timeout_graceful_shutdown=int(limits.drain_s),
    )
    return Server(config)


def run(
    indexes: Indexes, settings: Settings, keys: Keys | None, bound: socket.socket, ready: Callable[[str], object] = lambda address: None
) -> None:
    """Serve at a bound socket until the process is told to stop; `ready` is told the address when it answers."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what clients do wrong is no error of ours
    host, port = bound.getsockname()[:2]

    async def serve() -> None:
        bound.listen(BACKLOG)
        ready(f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/")
        await make_server(indexes, settings, keys).serve([bound])

    asyncio.run(serve())


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is to listen there; raise InputError where it cannot."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(kind, socket.SOCK_STREAM)
    except OSError as error:
        raise InputError(f"{host}: is no address to listen at ({error.strerror or error}); give one of this machine with --host") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise InputError(
            f"{host}:{port}: cannot be listened at ({error.strerror or error}); choose another with --host or --port"
        ) from error
    return bound


def fitting(limits: Limits) -> Limits:
    """Return the limits with no more connections than this process may have open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits
    return replace(limits, connections=max(1, min(limits.connections, soft - FILES)))
