"""What Ray runs in its workers: functions and a class of a module, which its workers import by name."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from crossgeo.engine.cluster.ray_gpu import use_one
from crossgeo.engine.cluster.task import Host, Package, Report, perform
from crossgeo.engine.cluster.versions import here


def label_of(address: str, node_id: str) -> str:
    """Return the name of a node, for people: several may be on one machine."""
    return f"{address} (node {node_id[:8]})"


def this_node() -> str:
    """Return the name of the node that this process is of."""
    return label_of(ray.util.get_node_ip_address(), ray.get_runtime_context().get_node_id())


class Clerk:
    """An actor that keeps where tries are: Ray does not say on which node a worker died, nor since when one is at its work."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[str, float | None]] = {}

    def came(self, number: int, node: str) -> None:
        """Note the node of a try."""
        self._places[number] = node, None

    def begins(self, number: int, node: str) -> None:
        """Note that a try's worker is set up and at it."""
        self._places[number] = node, time.monotonic()

    def forget(self, numbers: Sequence[int]) -> None:
        """Forget tries that have ended."""
        for number in numbers:
            self._places.pop(number, None)

    def places(self, numbers: Sequence[int]) -> dict[int, tuple[str, float | None]]:
        """Return nodes, and for how many seconds their workers have been at it, None for those that are not."""
        now = time.monotonic()
        found = {number: self._places[number] for number in numbers if number in self._places}
        return {number: (node, None if begun is None else now - begun) for number, (node, begun) in found.items()}


def attempt(package: Package, payload: Any, number: int, clerk: Any) -> tuple[str, Report]:
    """Do one shard; return the node, too."""
    node = this_node()
    clerk.came.remote(number, node)
    use_one()
    return node, perform(package, payload, node, lambda: clerk.begins.remote(number, node))


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
