"""Metrics of the Manager, its workers and its devices: what it says of this moment, and since its start."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.port import BusPort
from kernel.protocol.errors import ManagerUnreachable
from kernel.protocol.status import Status

PATIENCE_S: Final = 2.0
"""Prometheus gives up after ten seconds by default."""


class ManagerMetrics(Collector):
    """Asks the Manager. If it does not answer, `spoon_manager_up` is 0, and the others are absent."""

    def __init__(self, bus: BusPort) -> None:
        self._bus = bus

    def describe(self) -> Iterator[Metric]:
        """No metrics, so that registering does not ask."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        try:
            status = self._bus.status(PATIENCE_S)
        except ManagerUnreachable:
            status = None
        yield _gauge("spoon_manager_up", "1 if the Manager answers.", status is not None)
        if status is not None:
            yield from _of_process(status)
            yield from _of_devices(status)
            yield from _of_engines(status)
            yield from _of_pools(status)


def _of_process(status: Status) -> Iterator[Metric]:
    yield _gauge("spoon_manager_uptime_seconds", "Time since the Manager's start.", status.uptime_s)
    yield _counter(
        "spoon_manager_internal_errors", "Errors in the Manager that nobody foresaw.", status.internal_errors
    )
    if status.api is not None:
        yield _counter("spoon_api_restarts", "Restarts of the API by the Manager.", status.api.restarts)
    low = GaugeMetricFamily("spoon_disk_low", "1 if the disk has too little room.", labels=["folder"])
    low.add_metric(["images"], status.is_disk_low)
    low.add_metric(["models"], status.is_models_disk_low)
    yield low


def _of_devices(status: Status) -> Iterator[Metric]:
    rows = status.devices
    total = ((one.device, one.total_bytes) for one in rows)
    free = ((one.device, one.free_bytes) for one in rows)
    promised = ((one.device, one.promised_bytes) for one in rows)
    yield _by("device", "spoon_device_total_bytes", "Memory of the device.", total)
    yield _by("device", "spoon_device_free_bytes", "Memory of the device that nobody uses.", free)
    yield _by("device", "spoon_device_promised_bytes", "Memory that is promised to workers.", promised)


def _of_engines(status: Status) -> Iterator[Metric]:
    rows = status.engines
    steps = ((one.name, one.step_s) for one in rows if one.step_s is not None)
    yield _by("engine", "spoon_engine_workers", "Workers of the engine.", ((o.name, o.workers) for o in rows))
    yield _by(
        "engine", "spoon_engine_batch", "Jobs that are stepped together.", ((o.name, o.batch) for o in rows)
    )
    yield _by("engine", "spoon_engine_max_batch", "The most of them.", ((o.name, o.max_batch) for o in rows))
    yield _by("engine", "spoon_engine_step_seconds", "Median time of the last steps.", steps)
    lost = CounterMetricFamily(
        "spoon_engine_workers_lost", "Workers that ended without being asked to.", labels=["engine"]
    )
    for one in rows:
        lost.add_metric([one.name], one.workers_lost)
    yield lost


def _of_pools(status: Status) -> Iterator[Metric]:
    """Workers of pools by state, and the memory of the devices that they saw when they joined."""
    members = [one for one in status.workers if one.pool is not None]
    workers = GaugeMetricFamily(
        "spoon_pool_workers", "Workers of the pool, by state.", labels=["pool", "state"]
    )
    for (pool, state), count in sorted(Counter((one.pool or "", one.state) for one in members).items()):
        workers.add_metric([pool, state], count)
    yield workers
    total, free = Counter[str](), Counter[str]()
    for one in members:
        for device in one.devices:
            total[one.pool or ""] += device.total_bytes
            free[one.pool or ""] += device.free_bytes
    yield _by("pool", "spoon_pool_device_total_bytes", "Memory of the workers' devices.", total.items())
    text = "Memory of the workers' devices that nobody used when they joined."
    yield _by("pool", "spoon_pool_device_free_bytes", text, free.items())


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, value=value)


def _by(label: str, name: str, text: str, values: Iterable[tuple[str, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values:
        family.add_metric([key], value)
    return family
