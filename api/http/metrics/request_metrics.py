"""Metrics of requests, by route and status."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import Counter, Histogram, disable_created_metrics
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.http.framework.response_tasks import Served

BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
NO_ROUTE: Final = "none"
OTHER: Final = "other"


class RequestMetrics(Collector):
    """Counts requests by the template of their route, so that a path of a client makes no new series."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client says nothing of it
        self._counter = Counter(
            "spoon_http_requests",
            "Requests by method, route and status.",
            ["method", "route", "status"],
            registry=None,
        )
        self._seconds = Histogram(
            "spoon_http_request_seconds",
            "Time from a whole request until its response was handed to the socket. `kind` is wait for those "
            "that waited (?wait=), stream for the begin of a stream, and else plain.",
            ["method", "route", "kind"],
            buckets=BOUNDS_S,
            registry=None,
        )
        self._children: dict[tuple[str, str, int, str], tuple[Counter, Histogram]] = {}

    def served(self, one: Served) -> None:
        """Count a request. Called by any thread."""
        key = (one.method, one.route or NO_ROUTE, one.status, one.kind)
        children = self._children.get(key)
        if children is None:
            method = one.method if one.method in METHODS else OTHER
            children = (
                self._counter.labels(method, key[1], str(one.status)),
                self._seconds.labels(method, key[1], one.kind),
            )
            if method != OTHER:  # of others there may be any number
                self._children[key] = children
        children[0].inc()
        children[1].observe(one.seconds)

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield from self._counter.collect()
        yield from self._seconds.collect()
