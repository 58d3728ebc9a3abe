"""The way to a Ray cluster: from what `--cluster` says to a connection, or to an error that says what to do."""

from __future__ import annotations

import importlib.util
import logging
import re
import socket
from dataclasses import dataclass
from typing import Any

from crossgeo.errors import ClusterError, MismatchError, UsageError

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
_TOKEN = "copy the token file of its head node to ~/.ray/auth_token here (`geo cluster start` names the file), or set RAY_AUTH_TOKEN_PATH"


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


def connect(where: Where) -> Any:
    """Connect this process to a Ray cluster and return the module `ray`; ClusterError or MismatchError where that cannot be."""
    if importlib.util.find_spec("ray") is None:
        raise ClusterError("Ray is not installed here; install it (pip install 'crossgeo[cluster]'), or give --cluster local")
    if where.client and importlib.util.find_spec("grpc") is None:
        raise ClusterError(f"{where.address}: Ray Client needs grpcio, which is not installed here; pip install 'crossgeo[cluster]'")
    if where.host:
        _reach(where)
    import ray
    from ray._private import worker

    worker._worker_logs_enabled = False  # or Ray prints of every worker that dies, on stdout, where results go
    try:
        ray.init(where.address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except Exception as error:  # Ray raises RuntimeError, ConnectionError, ValueError and its own for what all is the user's to mend
        raise _explained(where, error) from error
    return ray


def _reach(where: Where) -> None:
    try:
        socket.create_connection((where.host, where.port), _TIMEOUT_S).close()
    except OSError as error:
        raise ClusterError(
            f"nothing answers at {where.host}:{where.port} ({error.strerror or error}); look whether the cluster runs (`geo cluster "
            "status` on its head node), and at the port: 6379 unless the cluster was started with another, 10001 after ray://"
        ) from error


def _explained(where: Where, error: Exception) -> ClusterError | MismatchError:
    text = " ".join(str(error).split())
    if "ersion mismatch" in text or "was started with: Ray" in text:
        return MismatchError(f"{where.address}: the cluster runs another Ray or Python: {text}; install the same here or there")
    if (
        type(error).__name__ == "AuthenticationError"
        or "nauthenticated" in text
        or "authentication" in text.lower()
        or "UNAUTHENTICATED" in text
    ):
        return ClusterError(f"{where.address}: the cluster wants its token, and there is none here or another: {_TOKEN}")
    if not where.host:
        return ClusterError(
            "no Ray runs on this machine; start it (`geo cluster start --head`), or give the address of one: --cluster HOST:PORT"
        )
    return ClusterError(f"{where.address}: the cluster cannot be joined: {text}; look whether it is one of Ray, and the same version")
