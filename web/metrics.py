"""What Prometheus reads at /metrics: requests, questions, photos, queues, generations, what is kept, jobs, the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
Reading = tuple[str, str, dict[str, str], float]
"""Name, help, labels, value."""


class Metrics:
    """Of one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter("geo_http_requests", "Requests that were answered", ["method", "route", "status"], registry=self._registry)
        self._seconds = Histogram(
            "geo_http_request_seconds", "From a request's headers to its answer", ["route"], buckets=_SECONDS, registry=self._registry
        )
        self._open = Gauge("geo_http_requests_open", "Requests that are being answered", registry=self._registry)
        self._photos = Counter("geo_photos", "Photos that were asked about, by status", ["index", "status"], registry=self._registry)
        self._stages = Counter("geo_stage_seconds", "Time spent on questions, by stage", ["stage"], registry=self._registry)

    @contextmanager
    def being_answered(self) -> Iterator[None]:
        """Count a request while it is being answered."""
        self._open.inc()
        try:
            yield
        finally:
            self._open.dec()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        known = method if method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH") else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def photo(self, index: str, status: str, timings_ms: dict[str, float]) -> None:
        """Count a photo by its status, or `error`."""
        self._photos.labels(index, status).inc()
        for stage, took in timings_ms.items():
            if stage != "total":
                self._stages.labels(stage).inc(took / 1000.0)

    def read_from(self, readings: Callable[[], Iterable[Reading]]) -> None:
        """Have values read whenever the metrics are."""
        self._registry.register(_Gauges(readings))

    def text(self) -> bytes:
        """Return them as Prometheus reads them."""
        return generate_latest(self._registry)


class _Gauges:
    def __init__(self, readings: Callable[[], Iterable[Reading]]) -> None:
        self._readings = readings

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, says, labels, value in self._readings():
            family = families.setdefault(name, GaugeMetricFamily(name, says, labels=list(labels)))
            family.add_metric(list(labels.values()), value)
        return families.values()
