"""The way to a Ray cluster: from what `--cluster` says to a connection, or to an error that says what to do."""

from __future__ import annotations

import importlib.util
import logging
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from crossgeo.errors import ClusterError, GeoError, LimitError, MismatchError, UsageError

# What `geo cluster start` gives to the cluster. With Ray's own, a cable that is pulled costs minutes: see docs/howto/cluster.md.
SETTINGS = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
    "grpc_client_keepalive_time_ms": 5000,
    "grpc_client_keepalive_timeout_ms": 5000,
}
LABEL = "crossgeo-settings"  # a node that was started with them bears it
LABEL_VALUE = "token-1"
_TIMEOUT_S = 5.0
_TOKEN = "copy the token file of its head node (~/.ray/auth_token, unless it was started with another) to ~/.ray/auth_token here"


@dataclass(frozen=True)
class Where:
    """What `--cluster` says: an address, or the Ray of this machine where there is none; `client`: through Ray Client."""

    host: str = ""
    port: int = 0
    client: bool = False

    @property
    def address(self) -> str:
        """Return it as Ray wants it."""
        if not self.host:
            return "auto"
        return f"{'ray://' if self.client else ''}{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @classmethod
    def of(cls, text: str) -> Where:
        """Read "ray", "auto", "HOST:PORT" or "ray://HOST:PORT"; UsageError for anything else."""
        if text in {"ray", "auto"}:
            return cls()
        found = re.fullmatch(r"(ray://)?(\[[0-9A-Fa-f:.]+\]|[^:/\s\[\]]+):([0-9]{1,5})", text)
        if found is None or not 0 < int(found[3]) < 65536:
            raise UsageError(f"no cluster {text!r}; give local, ray, HOST:PORT or ray://HOST:PORT (a port is 6379, or 10001 after ray://)")
        return cls(found[2].strip("[]"), int(found[3]), bool(found[1]))


@dataclass(frozen=True)
class Connection:
    """A connection to a cluster: the module `ray`, where it leads, and whether the cluster answers anybody, token or not."""

    ray: Any
    where: Where
    open_to_all: bool

    def answers(self) -> bool:
        """Return whether the head of the cluster answers now."""
        return _knock(self.where, {} if self.open_to_all else _token() or {}) is None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have whatever Ray raises inside say that the connection is lost, where it is: ClusterError."""
        import grpc

        try:
            yield
        except GeoError:
            raise
        except Exception as error:
            if not isinstance(error, self.ray.exceptions.RayError | ConnectionError | grpc.RpcError) and self.answers():
                raise
            text = " ".join(str(error).split())[:300]
            if isinstance(error, self.ray.exceptions.OutOfDiskError | self.ray.exceptions.ObjectStoreFullError):
                raise LimitError(f"Ray has no room for what the nodes exchange ({text}); make room, then give the same command") from error
            raise ClusterError(
                f"the connection to the cluster at {self.where.address} is lost ({text}); look at its head node, start the cluster again "
                "if need be, and give the same command: it goes on"
            ) from error


def installed() -> None:
    """Raise ClusterError where Ray, or what reaches it, is not installed."""
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("grpc") is None:
        raise ClusterError("Ray is not installed here; install it (pip install 'crossgeo[cluster]'), or give --cluster local")


def connect(where: Where) -> Connection:
    """Connect this process to a Ray cluster; ClusterError or MismatchError, which say what to do, where that cannot be."""
    installed()
    import ray
    from ray._private import auto_init_hook, worker

    where = where if where.host else _found_here()
    _reach(where)
    problem = _knock(where, {})
    if problem == "UNAUTHENTICATED":
        _enter(where)
    elif problem is not None:
        kind, other = (
            ("the door of Ray Client", "6379 without ray://") if where.client else ("the head of a Ray cluster", "10001 after ray://")
        )
        raise ClusterError(f"{where.address}: what answers there is not {kind} ({problem}); is it another port, or {other}?")
    worker._worker_logs_enabled = False  # or Ray prints of every worker that dies, on stdout, where results go
    auto_init_hook.enable_auto_connect = False  # or it starts a cluster of its own where the connection is lost
    for last in (False, False, True):
        try:
            ray.init(where.address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
            break
        except Exception as error:  # Ray raises RuntimeError, ConnectionError, ValueError and its own for what all is the user's to mend
            text = " ".join(str(error).split())
            if "ersion mismatch" in text or "was started with: Ray" in text:
                raise MismatchError(f"{where.address}: another Ray or Python runs there; install the same here or there: {text}") from error
            if last or not where.client:  # a busy head node starts the driver's part of Ray Client too late now and then
                raise ClusterError(f"{where.address}: the cluster cannot be joined: {text}") from error
    return Connection(ray, where, open_to_all=problem is None)


def _found_here() -> Where:
    from ray._private.services import canonicalize_bootstrap_address

    address = None
    try:
        address = canonicalize_bootstrap_address("auto")
    except ConnectionError as error:
        if "multiple" in str(error):
            raise ClusterError("several clusters of Ray run on this machine; give the address of one: --cluster HOST:PORT") from error
    if address is None:
        raise ClusterError(
            "no Ray runs on this machine; start it (`geo cluster start --head`), or give the address of one: --cluster HOST:PORT"
        )
    return Where.of(address)


def _reach(where: Where) -> None:
    try:
        socket.create_connection((where.host, where.port), _TIMEOUT_S).close()
    except OSError as error:
        raise ClusterError(
            f"nothing answers at {where.host}:{where.port} ({error.strerror or error}); look whether the cluster runs (`geo cluster "
            "status` on its head node), and at the port: 6379 unless the cluster was started with another, 10001 after ray://"
        ) from error


def _enter(where: Where) -> None:
    """Raise ClusterError where the cluster does not take our token; Ray itself would try for half a minute, and not say why."""
    from ray.exceptions import AuthenticationError

    try:
        token = _token()
    except (AuthenticationError, RuntimeError) as error:
        raise ClusterError(f"{where.address}: the cluster wants its token, and there is none here: {_TOKEN}") from error
    if _knock(where, token or {}) == "UNAUTHENTICATED":
        what = "another token than that of this machine" if token else "its token (a program sets RAY_AUTH_MODE=token, which `geo` does)"
        raise ClusterError(f"{where.address}: the cluster wants {what}: {_TOKEN}")


def _token() -> Mapping[str, str] | None:
    from ray._raylet import AuthenticationTokenLoader

    token: Mapping[str, str] | None = AuthenticationTokenLoader.instance().get_token_for_http_header()
    return token


def _knock(where: Where, headers: Mapping[str, str]) -> str | None:
    """Ask the cluster for its name, as Ray does; None where it answers, else the status of gRPC."""
    import grpc

    method = "/ray.rpc.RayletDriver/ClusterInfo" if where.client else "/ray.rpc.NodeInfoGcsService/GetClusterId"
    target = where.address.removeprefix("ray://")
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(method)(b"", timeout=_TIMEOUT_S, metadata=[*headers.items()])
        except grpc.RpcError as error:
            name: str = error.code().name
            return None if where.client and name == "NOT_FOUND" else name  # what the question is about does not matter there
    return None
