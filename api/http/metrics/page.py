"""/metrics, in Prometheus' text format: read at each scrape; what this process has open; its bus."""

from collections.abc import Iterator

import falcon
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.metrics.request_metrics import RequestMetrics
from api.port import BusPort


class Metrics:
    """The page that Prometheus reads."""

    def __init__(self, *collectors: Collector) -> None:
        requests = RequestMetrics()
        self.observe = requests.served
        """Called by any thread with each response."""
        self._registry = CollectorRegistry()
        for collector in (*collectors, requests):
            self._registry.register(collector)
        ProcessCollector(registry=self._registry)

    def show(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.data = generate_latest(self._registry)
        resp.content_type = CONTENT_TYPE_LATEST


class ApiMetrics(Collector):
    """What this process has open, and what it has asked of the Manager."""

    def __init__(self, bus: BusPort, streams: ConcurrencyLimit, waits: ConcurrencyLimit) -> None:
        self._bus = bus
        self._streams = streams
        self._waits = waits

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("spoon_api_streams", "Open event streams.", value=self._streams.taken)
        yield GaugeMetricFamily(
            "spoon_api_waits", "Requests waiting for a result (?wait=).", value=self._waits.taken
        )
        figures = self._bus.figures()
        yield CounterMetricFamily("spoon_bus_asked", "Requests sent to the Manager.", value=figures.asked)
        yield CounterMetricFamily(
            "spoon_bus_resent", "Requests to the Manager that were resent.", value=figures.resent
        )
        yield CounterMetricFamily(
            "spoon_bus_given_up", "Requests that the Manager did not answer.", value=figures.given_up
        )
        yield GaugeMetricFamily(
            "spoon_bus_unanswered", "Requests waiting for the Manager's reply.", value=figures.unanswered
        )
