"""What Ray runs in its workers: functions and a class of a module, which its workers import by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray

from crossgeo.engine.cluster.task import Host, Package, Report, perform
from crossgeo.engine.cluster.versions import here


def label_of(address: str, node_id: str) -> str:
    """Return the name of a node, for people: several may be on one machine."""
    return f"{address} (node {node_id[:8]})"


def this_node() -> str:
    """Return the name of the node that this process is of."""
    return label_of(ray.util.get_node_ip_address(), ray.get_runtime_context().get_node_id())


def attempt(package: Package, payload: Any) -> tuple[str, Report]:
    """Do one shard; return the node, too."""
    node = this_node()
    return node, perform(package, payload, node)


def look() -> tuple[str, Mapping[str, str]]:
    """Return the node and what it runs."""
    return this_node(), dict(here())


class RayHost:
    """An actor of Ray that keeps a state and answers calls."""

    def __init__(self, package: Package) -> None:
        self._node = this_node()
        self._host = Host(package, self._node)

    def call(self, body: bytes) -> tuple[str, Report]:
        """Answer a call; return the node, too."""
        return self._node, self._host.call(body)

    def where(self) -> str:
        """Return the node."""
        return self._node
