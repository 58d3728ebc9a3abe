"""What runs in a worker: one shard of a job, or a call of an actor. Both clusters run these same functions."""

from __future__ import annotations

import hashlib
import pickle
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from crossgeo.engine.cluster.versions import compare, here
from crossgeo.engine.cluster.work import Job
from crossgeo.errors import GeoError, UsageError, of_user

_KEPT = 2  # states that a process keeps: two kinds of shards may take turns
_states: OrderedDict[str, Any] = OrderedDict()


@dataclass(frozen=True)
class Report:
    """What came of one try.

    `kind` is "done" (`value`), "refused" (`error` of `do`), "unfit" (`error` of versions or `setup`) or "bug" (`trace`).
    """

    kind: Literal["done", "refused", "unfit", "bug"]
    value: Any = None
    error: GeoError | None = None
    trace: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Package:
    """What a worker needs beside its shards: functions and context pickled, the functions by their names."""

    body: bytes  # of (setup, do, context)
    key: str  # by which a process knows the state that it has already
    versions: Mapping[str, str]

    @classmethod
    def of(cls, setup: Callable[..., Any], do: Callable[..., Any] | None, context: Any) -> Package:
        """Pack functions and context; UsageError for a function that no worker could import."""
        for function in (setup, do):
            if function is not None and (function.__module__ == "__main__" or "<" in function.__qualname__):
                named = f"{function.__qualname__} of {function.__module__}"
                raise UsageError(f"{named} cannot be given to workers; define it in a module, by name")
        body = pickle.dumps((setup, do, context), protocol=5)
        return cls(body, hashlib.sha256(body).hexdigest(), dict(here()))

    @classmethod
    def of_job(cls, job: Job[Any, Any, Any, Any]) -> Package:
        """Pack a job."""
        return cls.of(job.setup, job.do, job.context)


def perform(package: Package, payload: Any, node: str, begun: Callable[[], None] = lambda: None) -> Report:
    """Do one shard in this process, making or taking the state of its job; `begun` is called between. `node` is its name in errors."""
    try:
        compare(package.versions, here(), node)
        setup, do, context = pickle.loads(package.body)
        if package.key not in _states:
            end_states(_KEPT - 1)
            _states[package.key] = setup(context)
        _states.move_to_end(package.key)
    except Exception as error:
        return _failed(error, "unfit")
    begun()
    began = time.monotonic()
    try:
        value = do(_states[package.key], payload)
    except Exception as error:
        return _failed(error, "refused", time.monotonic() - began)
    return Report("done", value, seconds=time.monotonic() - began)


class Host:
    """The state of an actor, and its calls."""

    def __init__(self, package: Package, node: str) -> None:
        self._state: Any = None
        self._unfit: Report | None = None
        try:
            compare(package.versions, here(), node)
            setup, _, context = pickle.loads(package.body)
            self._state = setup(context)
        except Exception as error:
            self._unfit = _failed(error, "unfit")

    def call(self, body: bytes) -> Report:
        """Answer a call, (do, arguments) pickled."""
        if self._unfit is not None:
            return self._unfit
        began = time.monotonic()
        try:
            do, args = pickle.loads(body)
            return Report("done", do(self._state, *args), seconds=time.monotonic() - began)
        except Exception as error:
            return _failed(error, "refused", time.monotonic() - began)


def _failed(error: Exception, kind: Literal["refused", "unfit"], seconds: float = 0.0) -> Report:
    if (ours := of_user(error)) is None:
        return Report("bug", trace="".join(traceback.format_exception(error)), seconds=seconds)
    return Report(kind, error=type(ours)(str(ours)), seconds=seconds)  # without its causes and frames, which may not travel


def unpicklable(error: Exception) -> Report:
    """Return what to report where a value cannot travel."""
    return _failed(error, "refused")


def end_states(keep: int = 0) -> None:
    """Close and forget all states but the `keep` that were used last."""
    while len(_states) > keep:
        close = getattr(_states.popitem(last=False)[1], "close", None)
        if callable(close):
            close()
