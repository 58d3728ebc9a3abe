"""What a worker reported, as the driver says it: the error with the node, or the value."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from crossgeo.engine.cluster.task import Report
from crossgeo.errors import ClusterError, GeoError, MismatchError, WorkerBugError


def error_of(report: Report, node: str, what: str) -> GeoError | None:
    """Return the error of a report, naming the node and (for a bug) what was done; None where there is none."""
    if report.kind == "bug":
        last = report.trace.strip().splitlines()[-1]
        return WorkerBugError(
            f"{node}: {what} failed by a bug: {last}; please report it with what the same command prints as `geo --debug ...`", report.trace
        )
    return None if report.error is None else on_node(node, report.error)


def on_node(node: str, error: GeoError) -> GeoError:
    """Return an error of the same kind whose text begins with the node."""
    text = str(error)
    return error if text.startswith(node) else type(error)(f"{node}: {text}")


def settle(future: Future[Any], report: Report, node: str, what: str) -> None:
    """Give a future the value or the error of a report."""
    error = error_of(report, node, what)
    if error is None:
        future.set_result(report.value)
    else:
        future.set_exception(error)


def unfit(error: Any) -> ClusterError | MismatchError:
    """Return what an error of Ray's means that a worker did not answer for itself."""
    text = str(error)
    node = getattr(error, "ip", None) or "a node of the cluster"
    if "ModuleNotFoundError" in text or "ImportError" in text or "failed to import" in text or "AttributeError" in text:
        last = text.strip().splitlines()[-1]
        return MismatchError(
            f"{node} cannot import what this machine runs ({last}); install the same crossgeo there, and start Ray there again"
        )
    return ClusterError(f"{node}: a worker cannot take its work or give its result back: {text.strip().splitlines()[-1]}")
