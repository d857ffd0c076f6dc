"""Preprocessing beside the steps of other jobs: parses prompts, loads models and images, detects control
maps.

Each kind of work has a thread of its own, because it takes a different order of time: compel parses a long
prompt in a second, a model loads in seconds, and a detector may run for minutes on a CPU. A job only visits
the threads that have work for it; a job for which everything is cached visits none. On a GPU the threads use
the stream of the steps, so that a step never reads a tensor before it is written.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from queue import Empty, SimpleQueue
from typing import Final

import torch

from engine_worker.engine.adapters.lora_manager import AdapterSet
from engine_worker.engine.detectors.maps import control_maps
from engine_worker.engine.images.infotext import Digests
from engine_worker.engine.networks.components import ControlNet, Vae
from engine_worker.engine.networks.controlnet import Control
from engine_worker.engine.pipeline.resources import EngineResources
from engine_worker.engine.prompts.prompt_encoder import ParsedPrompts
from engine_worker.engine.runtime.cuda_stream import copy_async
from engine_worker.engine.runtime.failures import fail_job
from engine_worker.engine.runtime.oom_retry import retry_on_oom
from engine_worker.engine.runtime.open_job import OpenJob
from engine_worker.engine.runtime.watchdog_thread import WatchdogThread
from engine_worker.engine.sampling.batch_scheduler import Admission
from engine_worker.engine.sampling.initial_latents import InitImagePixels, pixels_of, read_pixels
from engine_worker.port import Inputs, Wake
from kernel.process.log import line
from kernel.protocol.errors import JobBroke
from kernel.protocol.specs import JobOrder, JobSpec


@dataclass(frozen=True, slots=True)
class JobInputs:
    """Nothing in here has been encoded."""

    words: ParsedPrompts
    vae: Vae
    adapters: AdapterSet
    init_image: InitImagePixels
    nets: tuple[ControlNet, ...]
    digests: Digests
    controls: tuple[Control, ...] = ()
    """As many as the nets, once the maps are drawn."""


def is_cached(resources: EngineResources, order: JobOrder, inputs: Inputs) -> bool:
    """True if there is nothing to read, to load or to draw: getting a job's materials takes no time."""
    has_models = all(map(resources.adapters.has, order.models))
    has_vectors = resources.prompt_encoder.has_vectors(order)
    return not inputs and has_models and has_vectors and resources.prompt_encoder.has_words(order)


def read_inputs(resources: EngineResources, order: JobOrder, inputs: Inputs) -> JobInputs:
    """Read the prompts, load the models and decode the images of a job; once more without what is kept for
    later jobs, if there is no memory for it. For every thread.

    Raises: JobRejected, if the job cannot be made as it is described; ModelUnreadable, NotInstalled,
    torch.OutOfMemoryError, and whatever a defective model raises.
    """
    read = partial(_read_inputs, resources, order, inputs)
    return retry_on_oom(read, resources.parts.device, resources.adapters.forget)


def _read_inputs(resources: EngineResources, order: JobOrder, inputs: Inputs) -> JobInputs:
    adapters, spec = resources.adapters, order.spec
    resources.prompt_encoder.load_vectors(order)
    return JobInputs(
        words=resources.prompt_encoder.read(order),
        vae=adapters.vae(order.models, spec.vae),
        adapters=adapters.lora_manager.prepare(order.models, spec.loras),
        init_image=read_pixels(spec, inputs),
        nets=tuple(adapters.controlnet(order.models, model_id) for model_id in spec.control_models),
        digests={kind: sha256(data).hexdigest() for kind, data in inputs.items()},
    )


def load_inputs(resources: EngineResources, job: OpenJob, inputs: Inputs) -> JobInputs:
    """All of a job's materials at once. Raises: as `read_inputs` and `with_controls`."""
    return with_controls(resources, job, inputs, read_inputs(resources, job.order, inputs))


def is_to_be_drawn(spec: JobSpec) -> bool:
    """True if a detector has to draw a control map, which may take minutes on a CPU."""
    return any(not use.is_preprocessed for use in spec.controls)


def with_controls(
    resources: EngineResources, job: OpenJob, inputs: Inputs, job_inputs: JobInputs
) -> JobInputs:
    """The materials with the job's control maps, drawn where they did not come along; drawing is for one
    thread at a time.

    Raises: JobRejected, if there is no pose image, it is none, or nothing is to be seen on it; NotInstalled,
    ModelUnreadable, and whatever a detector raises.
    """
    parts, spec = resources.parts, job.order.spec
    maps = control_maps(job.order, inputs, resources.detect, job.mapped)
    controls = tuple(
        Control(
            net=net,
            image=copy_async(pixels_of(drawn).to(parts.dtype), parts.device),
            scale=use.scale,
            start=use.start,
            end=use.end,
        )
        for use, net, drawn in zip(spec.controls, job_inputs.nets, maps, strict=True)
    )
    return replace(job_inputs, controls=controls)


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
        _log.warning(line("preparing_given_up", job_id=pending.job.order.job_id, what=what))
        pending.job.fail(JobBroke.code, text)
        self._wake()
