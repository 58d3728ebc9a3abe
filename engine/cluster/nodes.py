"""Nodes whose workers keep dying: whatever is sent there comes back, so for a while nothing is."""

from __future__ import annotations

import time

_DEATHS = 3  # one after the other, without anything done on the node between
_WHILE_S = 60.0  # for which it is left out; then it may show again what it can


class Sick:
    """Counts deaths on nodes."""

    def __init__(self) -> None:
        self._deaths: dict[str, int] = {}
        self._since: dict[str, float] = {}

    def died(self, node: str) -> None:
        """Count a death; "" is no node."""
        self._deaths[node] = self._deaths.get(node, 0) + 1
        if self._deaths[node] >= _DEATHS:
            self._since[node] = time.monotonic()

    def works(self, node: str) -> None:
        """Note that a node has done something."""
        self._deaths.pop(node, None)
        self._since.pop(node, None)

    def nodes(self) -> frozenset[str]:
        """Return the nodes to be left out now."""
        now = time.monotonic()
        return frozenset(node for node, since in self._since.items() if node and now - since < _WHILE_S)
