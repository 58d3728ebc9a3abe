"""A worker of `local.LocalCluster`, which starts it: does what it is asked in a process of its own.

    python -P -m crossgeo.engine.cluster.child FD

FD is a socket. A message is pickled (both ends are one program, and nobody else holds the socket): first the driver's `sys.path` and the
worker's name, to which an empty message says that the worker is there, then requests: ("perform", package, payload) and ("call", body) are
answered by a `task.Report`, the first after an empty message that says that the state is made and the work begins; ("host", package) goes
before calls and is not answered. The process ends when the socket does, in the middle of a
request, too: its driver is gone then.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any


def main() -> None:
    """Answer requests until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which then ends this
    driver = Connection(int(sys.argv[1]))
    sys.path[:], node = driver.recv()
    from crossgeo.engine.cluster.task import Host, perform

    driver.send_bytes(b"")
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(driver, requests), daemon=True).start()
    host: Host | None = None
    while True:
        kind, *rest = pickle.loads(requests.get())
        if kind == "perform":
            package, payload = rest
            driver.send_bytes(_packed(perform(package, payload, node, lambda: driver.send_bytes(b""))))
        elif kind == "host":
            host = Host(rest[0], node)
        else:
            assert host is not None
            driver.send_bytes(_packed(host.call(rest[0])))


def _packed(answer: Any) -> bytes:
    from crossgeo.engine.cluster.task import unpicklable

    try:
        return pickle.dumps(answer, protocol=5)
    except Exception as error:
        return pickle.dumps(unpicklable(error), protocol=5)


def _listen(driver: Connection, requests: queue.SimpleQueue[bytes]) -> None:
    while True:
        try:
            requests.put(driver.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)


if __name__ == "__main__":
    main()
