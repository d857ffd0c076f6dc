"""Preprocessing beside the steps of other jobs: parse prompts, load models and images, draw control maps.

Three lanes, a thread each: one reads the texts of prompts, which takes compel a second for a long one; one
loads models and decodes images, which takes seconds; and one draws control maps, which takes minutes on a
CPU. A job goes only to those that have something to do for it. On a GPU they work in the stream of the steps,
so that what they hand over is written before a step reads it.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

import torch

from engine_worker.engine.pipeline.job_inputs import (
    JobInputs,
    is_cached,
    is_to_be_drawn,
    read_inputs,
    with_controls,
)
from engine_worker.engine.pipeline.resources import EngineResources
from engine_worker.engine.runtime.failures import fail_job
from engine_worker.engine.runtime.open_job import OpenJob
from engine_worker.engine.runtime.watchdog_thread import WatchdogThread
from engine_worker.engine.sampling.batch_scheduler import Admission
from engine_worker.port import Inputs, Wake
from kernel.protocol.errors import JobBroke

_log = logging.getLogger(__name__)

PATIENCE_S: Final = 540.0
"""For one job in one lane. Less than the 600 s after which the Manager wants the job dropped
(engines.load_timeout), so that it fails with a reason and is not tried twice more."""


@dataclass(frozen=True, slots=True, eq=False)
class PendingJob:
    """A job that is being prepared."""

    admission: Admission
    job: OpenJob
    inputs: Inputs


@dataclass(frozen=True, slots=True, eq=False)
class _Detection:
    pending: PendingJob
    job_inputs: JobInputs


@dataclass(frozen=True, slots=True)
class _Threads:
    wording: WatchdogThread[PendingJob]
    reading: WatchdogThread[PendingJob]
    drawing: WatchdogThread[_Detection]


class Preprocessor:
    """Reads and draws what jobs need. All methods are for the stepping thread."""

    def __init__(self, resources: EngineResources, wake: Wake, patience_s: float = PATIENCE_S) -> None:
        self._resources = resources
        self._wake = wake
        self._patience_s = patience_s
        self._ready: SimpleQueue[tuple[PendingJob, JobInputs]] = SimpleQueue()
        self._threads: _Threads | None = None
        self._broken: torch.AcceleratorError | None = None
        self._is_closed = False

    def enter(self, pending: PendingJob) -> None:
        """Prepare a job; returns at once. `wake` is called when it is ready, or has failed."""
        pending.job.prepares()
        threads = self._started()
        has_words = self._resources.prompt_encoder.has_words(pending.job.order)
        (threads.reading if has_words else threads.wording).put(pending)

    def take_ready(self) -> Iterator[tuple[PendingJob, JobInputs]]:
        """The jobs that are ready, each once.

        Raises: torch.AcceleratorError, if the device broke while one was prepared.
        """
        if self._broken is not None:
            raise self._broken
        while True:
            try:
                yield self._ready.get_nowait()
            except Empty:
                return

    def close(self) -> None:
        """Wait for the work at hand; what has not begun is let go."""
        self._is_closed = True
        if self._threads is not None:
            # In the order in which they hand over to each other.
            self._threads.wording.close()
            self._threads.reading.close()
            self._threads.drawing.close()

    def _started(self) -> _Threads:
        if self._threads is None:
            self._threads = _Threads(
                wording=WatchdogThread("parser", self._word, self._give_up_wording, self._patience_s),
                reading=WatchdogThread("reader", self._read, self._give_up_reading, self._patience_s),
                drawing=WatchdogThread("detector", self._draw, self._give_up_drawing, self._patience_s),
            )
        return self._threads

    # What the lanes do. Each of these is the border of one job: its error must not harm another.

    @torch.inference_mode()
    def _word(self, pending: PendingJob) -> None:
        if self._is_wanted(pending):
            try:
                self._word_wanted(pending)
            except Exception as error:  # noqa: BLE001 - the border of one job
                self._fail(pending, error)

    def _word_wanted(self, pending: PendingJob) -> None:
        order = pending.job.order
        self._resources.prompt_encoder.read(order)
        if is_cached(self._resources, order, pending.inputs):
            self._read_wanted(pending)
        else:
            self._started().reading.put(pending)

    @torch.inference_mode()
    def _read(self, pending: PendingJob) -> None:
        if self._is_wanted(pending):
            try:
                self._read_wanted(pending)
            except Exception as error:  # noqa: BLE001 - the border of one job
                self._fail(pending, error)

    def _read_wanted(self, pending: PendingJob) -> None:
        job_inputs = read_inputs(self._resources, pending.job.order, pending.inputs)
        if is_to_be_drawn(pending.job.order.spec):
            self._started().drawing.put(_Detection(pending, job_inputs))
        else:
            self._is_ready(pending, with_controls(self._resources, pending.job, pending.inputs, job_inputs))

    @torch.inference_mode()
    def _draw(self, work: _Detection) -> None:
        pending = work.pending
        if self._is_wanted(pending):
            pending.job.prepares()
            try:
                self._is_ready(
                    pending, with_controls(self._resources, pending.job, pending.inputs, work.job_inputs)
                )
            except Exception as error:  # noqa: BLE001 - the border of one job
                self._fail(pending, error)

    def _is_wanted(self, pending: PendingJob) -> bool:
        return pending.job.is_open and not self._is_closed and self._broken is None

    def _is_ready(self, pending: PendingJob, job_inputs: JobInputs) -> None:
        self._ready.put((pending, job_inputs))
        self._wake()

    def _fail(self, pending: PendingJob, error: Exception) -> None:
        try:
            fail_job(pending.job, error)
        except torch.AcceleratorError as broken:
            self._broken = broken
        self._wake()

    def _give_up_wording(self, pending: PendingJob, is_cached: bool) -> None:
        self._give_up(pending, "encoding the prompts", is_cached)

    def _give_up_reading(self, pending: PendingJob, is_cached: bool) -> None:
        self._give_up(pending, "loading models and decoding images", is_cached)

    def _give_up_drawing(self, work: _Detection, is_cached: bool) -> None:
        self._give_up(work.pending, "drawing control maps", is_cached)

    def _give_up(self, pending: PendingJob, what: str, is_cached: bool) -> None:
        whose = "it" if is_cached else "another job ahead of it"
        text = f"preparing the job timed out: {what} for {whose} took longer than {self._patience_s:.0f} s"
        _log.warning("action=preparing_given_up job_id=%s what=%r", pending.job.order.job_id, what)
        pending.job.fail(JobBroke.code, text)
        self._wake()
