"""Metrics of jobs, images, models and engines, from the database.

What has happened is counted by the triggers of `tally` (kernel/shell/migrations/0020_tallies.sql), so it goes
on over restarts of Manager and API. What belongs to an engine disappears with it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import accumulate
from typing import Final

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from kernel.protocol.enums import ENDED_JOB_STATES, DeliveryState, EngineState, JobState, ModelState
from kernel.views.counts import (
    count_all,
    duration_bounds_ms,
    ended_deliveries,
    open_deliveries,
    open_jobs_of_engines,
    open_jobs_of_keys,
    tallies,
)
from kernel.views.reader import Reader
from kernel.views.rows import OpenJobs, Tally

WAIT: Final = "wait"
IMAGE: Final = "image"
DOWNLOAD: Final = "download"
ENGINE: Final = ("engine",)
OPEN: Final = (DeliveryState.WAITING, DeliveryState.SENDING)
ENDED: Final = (DeliveryState.DELIVERED, DeliveryState.FAILED)


class JobMetrics(Collector):
    """Reads the figures of the database."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def describe(self) -> Iterator[Metric]:
        """No metrics, so that registering does not read the database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        counts = count_all(self._reader)
        yield _by_status("spoon_models", "Models by status.", ModelState, counts.models)
        yield _by_status("spoon_engines", "Engines by status.", EngineState, counts.engines)
        yield _by_status("spoon_jobs", "Jobs by status, also those that have ended.", JobState, counts.jobs)
        yield GaugeMetricFamily("spoon_images", "Image files on disk.", value=counts.images.count)
        yield GaugeMetricFamily(
            "spoon_images_bytes", "Size of the image files on disk, in bytes.", value=counts.images.size_bytes
        )
        engines, keys = open_jobs_of_engines(self._reader), open_jobs_of_keys(self._reader)
        yield _open("spoon_engine_jobs", "Open jobs of each engine, by status.", "engine", engines)
        yield _open("spoon_key_jobs", "Open jobs of each API key, by status.", "key", keys)
        yield from self._of_tallies()
        yield from self._of_callbacks()

    def _of_tallies(self) -> Iterator[Metric]:
        found, bounds_ms = tallies(self._reader), duration_bounds_ms(self._reader)
        yield _histogram(
            "spoon_job_wait_seconds", "Time from a job's submission until it began.", found, bounds_ms, WAIT
        )
        yield _histogram(
            "spoon_job_run_seconds",
            "Time from a job's beginning until it ended, by the status that it ended with.",
            found,
            bounds_ms,
            *sorted(ENDED_JOB_STATES),
        )
        images = [one for one in found if one.what == IMAGE]
        downloads = [one for one in found if one.what == DOWNLOAD]
        made = {one.engine: one.count for one in images}
        pixels = {one.engine: one.total for one in images}
        taken = {one.engine: one.count for one in downloads}
        taken_bytes = {one.engine: one.total for one in downloads}
        yield _counter("spoon_images_made", "Images that were made.", made)
        yield _counter("spoon_pixels_made", "Pixels of the images that were made.", pixels)
        yield _counter("spoon_image_downloads", "Images that were downloaded whole.", taken)
        yield _counter("spoon_image_download_bytes", "Bytes of images that were downloaded.", taken_bytes)

    def _of_callbacks(self) -> Iterator[Metric]:
        yield _by_status(
            "spoon_callbacks_open",
            "Callbacks that are being sent, or wait for an attempt.",
            OPEN,
            open_deliveries(self._reader),
        )
        ended = ended_deliveries(self._reader)
        family = CounterMetricFamily(
            "spoon_callbacks_ended",
            "Callbacks that were delivered, or given up as failed.",
            labels=["status"],
        )
        for state in ENDED:
            family.add_metric([state.value], ended.get(state.value, 0))
        yield family


def _by_status(
    name: str, text: str, states: Iterable[StrEnum], counts: Mapping[str, int]
) -> GaugeMetricFamily:
    """One value for each state, 0 if there is none: a series with gaps is hard to plot."""
    family = GaugeMetricFamily(name, text, labels=["status"])
    for state in states:
        family.add_metric([state.value], counts.get(state.value, 0))
    return family


def _open(name: str, text: str, label: str, rows: Sequence[OpenJobs]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label, "status"])
    for row in rows:
        family.add_metric([row.name, JobState.WAITING], row.waiting)
        family.add_metric([row.name, JobState.PROCESSING], row.processing)
    return family


def _counter(name: str, text: str, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=ENGINE)
    for engine, value in values.items():
        family.add_metric([engine], value)
    return family


def _histogram(
    name: str, text: str, found: Sequence[Tally], bounds_ms: Sequence[int], *whats: str
) -> HistogramMetricFamily:
    """By engine; with several `whats` also by these, as the status."""
    is_by_status = len(whats) > 1
    family = HistogramMetricFamily(name, text, labels=[*ENGINE, *["status"] * is_by_status])
    groups: dict[tuple[str, ...], dict[int, Tally]] = {}
    for one in found:
        if one.what in whats:
            labels = (one.engine, *[one.what] * is_by_status)
            groups.setdefault(labels, {})[one.bound_ms] = one
    names = [f"{bound_ms / 1_000:g}" for bound_ms in bounds_ms[:-1]] + ["+Inf"]
    for labels, group in groups.items():
        counts = accumulate(group[bound].count if bound in group else 0 for bound in bounds_ms)
        total_s = sum(one.total for one in group.values()) / 1_000
        family.add_metric(labels, list(zip(names, counts, strict=True)), total_s)
    return family
