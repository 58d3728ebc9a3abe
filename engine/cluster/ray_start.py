"""How a machine is made a node of a Ray cluster: Ray's own command, with the settings and the token that a cluster of ours has."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crossgeo.engine.cluster.ray_connect import LABEL, LABEL_VALUE, SETTINGS
from crossgeo.errors import ClusterError, InputError

PORT, CLIENT_PORT = 6379, 10001  # Ray's own


@dataclass(frozen=True)
class NodeOptions:
    """What is asked of a node; `address` of the head that it joins, None for a head."""

    address: str | None = None
    host: str | None = None  # by which other nodes reach this one; Ray finds one by itself
    port: int = PORT  # of a head
    client_port: int = CLIENT_PORT  # of a head, for ray://; 0: no such door
    cpus: int | None = None
    gpus: int | None = None
    object_store_bytes: int | None = None
    temp_dir: Path | None = None
    block: bool = False


def ray(*arguments: str) -> list[str]:
    """Return a command of Ray's own, run by this Python."""
    return [sys.executable, "-m", "ray.scripts.scripts", *arguments]


def start(options: NodeOptions) -> list[str]:
    """Return the command that starts a node."""
    told: list[tuple[str, object]] = [("labels", f"{LABEL}={LABEL_VALUE}"), ("node-ip-address", options.host), ("num-cpus", options.cpus)]
    told += [("num-gpus", options.gpus), ("object-store-memory", options.object_store_bytes), ("temp-dir", options.temp_dir)]
    if options.address is None:
        told += [("port", options.port), ("include-dashboard", False), ("ray-client-server-port", options.client_port or None)]
        told += [("system-config", json.dumps(SETTINGS))]
    else:
        told += [("address", options.address)]
    flags = ["--disable-usage-stats", *(["--head"] if options.address is None else []), *(["--block"] if options.block else [])]
    return ray("start", *flags, *(f"--{name}={value}" for name, value in told if value is not None))


def own_address() -> str:
    """Return the address of this machine that Ray takes for the one by which others reach it."""
    from ray._private.services import get_node_ip_address

    address: str = get_node_ip_address()
    return address


def environment(token: Path | None) -> Mapping[str, str]:
    """Return the variables that nodes, and programs that use a cluster, are started with; the token's only where there is one."""
    settings = {f"RAY_{name}": str(value) for name, value in SETTINGS.items()}
    found = {} if token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    return {**settings, **found, "RAY_USAGE_STATS_ENABLED": "0"}


def make_token(path: Path) -> bool:
    """Write a new token that only its owner may read, unless there is one; return whether it is new."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise InputError(
            f"{path}: the token cannot be written ({error.strerror or error}); choose another path with --token-file"
        ) from error
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    return True


def check_token(path: Path) -> None:
    """Raise InputError where there is no token, ClusterError where others may read it."""
    try:
        mode, size = path.stat().st_mode, len(path.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no token can be read there; copy the token file of the cluster's head node to this path") from error
    if size < 16:
        raise InputError(f"{path}: is no token; remove it and let `geo cluster start --head` make one, or copy the head node's")
    if mode & 0o077:
        raise ClusterError(f"{path}: others may read this token; chmod 600 {path}")
