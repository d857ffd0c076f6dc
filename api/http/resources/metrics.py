"""/metrics, in Prometheus' text format: read at each scrape, counted nowhere else."""

from collections.abc import Iterator, Mapping
from enum import StrEnum

import falcon
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.port import BusPort
from kernel.protocol.enums import EngineState, JobState, ModelState
from kernel.views.counts import count_all
from kernel.views.reader import Reader


class Figures(Collector):
    """Reads the figures of the database and of the bus."""

    def __init__(
        self, bus: BusPort, reader: Reader, streams: ConcurrencyLimit, waits: ConcurrencyLimit
    ) -> None:
        self._bus = bus
        self._reader = reader
        self._streams = streams
        self._waits = waits

    def collect(self) -> Iterator[Metric]:
        """Every metric of this project."""
        yield from self._of_database()
        yield from self._of_bus()
        yield GaugeMetricFamily("spoon_api_streams", "Open event streams.", value=self._streams.taken)
        yield GaugeMetricFamily(
            "spoon_api_waits", "Requests waiting for a result (?wait=).", value=self._waits.taken
        )

    def describe(self) -> Iterator[Metric]:
        """No metrics, so that registering does not read the database."""
        return iter(())

    def _of_database(self) -> Iterator[Metric]:
        counts = count_all(self._reader)
        yield _by_status("spoon_models", "Models by status.", ModelState, counts.models)
        yield _by_status("spoon_engines", "Engines by status.", EngineState, counts.engines)
        yield _by_status("spoon_jobs", "Jobs by status.", JobState, counts.jobs)
        yield GaugeMetricFamily("spoon_images", "Image files on disk.", value=counts.images.count)
        yield GaugeMetricFamily(
            "spoon_images_bytes", "Size of the image files on disk, in bytes.", value=counts.images.size_bytes
        )

    def _of_bus(self) -> Iterator[Metric]:
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


class Metrics:
    """The page that Prometheus reads."""

    def __init__(self, figures: Figures) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(figures)
        ProcessCollector(registry=self._registry)

    def show(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.data = generate_latest(self._registry)
        resp.content_type = CONTENT_TYPE_LATEST


def _by_status(name: str, text: str, states: type[StrEnum], counts: Mapping[str, int]) -> GaugeMetricFamily:
    """One value for each state, 0 if there is none: a series with gaps is hard to plot."""
    family = GaugeMetricFamily(name, text, labels=["status"])
    for state in states:
        family.add_metric([state.value], counts.get(state.value, 0))
    return family
