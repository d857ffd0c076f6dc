"""Preprocessing beside the steps of other jobs: parses prompts, loads models and images, detects control
maps.

Each kind of work has a thread of its own, because it takes a different order of time: compel parses a long
prompt in a second, a model loads in seconds, and a detector may run for minutes on a CPU. A job only visits
the threads that have work for it; a job for which everything is cached visits none. On a GPU the threads use
the stream of the steps, so that a step never reads a tensor before it is written.
"""

import logging
from collections.abc import Callable, Iterator
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

_log = logging.getLogger(__name__)
TIMEOUT_S: Final = 540.0
"""For one job on one thread. Less than the 600 s after which the Manager drops the job
(engines.load_timeout), so that it fails with a reason instead of being tried twice more."""


@dataclass(frozen=True, slots=True)
class JobInputs:
    """The inputs of a job, loaded and decoded but not encoded."""

    prompts: ParsedPrompts
    vae: Vae
    adapters: AdapterSet
    init_image: InitImagePixels
    nets: tuple[ControlNet, ...]
    digests: Digests
    controls: tuple[Control, ...] = ()
    """One for each net, once the control maps exist."""


def is_cached(resources: EngineResources, order: JobOrder, inputs: Inputs) -> bool:
    """True if there is nothing to parse, load or detect, so that `load_inputs` takes no time."""
    has_models = all(map(resources.adapters.has, order.models))
    has_vectors = resources.prompt_encoder.has_vectors(order)
    return not inputs and has_models and has_vectors and resources.prompt_encoder.is_parsed(order)


def read_inputs(resources: EngineResources, order: JobOrder, inputs: Inputs) -> JobInputs:
    """Parse the prompts, load the models and decode the images of a job; if there is not enough memory, once
    more after the caches were emptied. May be called from any thread.

    Raises: JobRejected, if the job is invalid; ModelUnreadable, NotInstalled, torch.OutOfMemoryError, and
    what a damaged model raises.
    """
    read = partial(_read_inputs, resources, order, inputs)
    return retry_on_oom(read, resources.parts.device, resources.adapters.forget)


def _read_inputs(resources: EngineResources, order: JobOrder, inputs: Inputs) -> JobInputs:
    adapters, spec = resources.adapters, order.spec
    resources.prompt_encoder.load_vectors(order)
    return JobInputs(
        prompts=resources.prompt_encoder.read(order),
        vae=adapters.vae(order.models, spec.vae),
        adapters=adapters.lora_manager.load_set(order.models, spec.loras),
        init_image=read_pixels(spec, inputs),
        nets=tuple(adapters.controlnet(order.models, model_id) for model_id in spec.control_models),
        digests={kind: sha256(data).hexdigest() for kind, data in inputs.items()},
    )


def load_inputs(resources: EngineResources, job: OpenJob, inputs: Inputs) -> JobInputs:
    """All inputs of a job at once. Raises: as `read_inputs` and `with_controls`."""
    return with_controls(resources, job, inputs, read_inputs(resources, job.order, inputs))


def needs_detector(spec: JobSpec) -> bool:
    """True if a detector must draw a control map, which may take minutes on a CPU."""
    return any(not use.is_preprocessed for use in spec.controls)


def with_controls(
    resources: EngineResources, job: OpenJob, inputs: Inputs, job_inputs: JobInputs
) -> JobInputs:
    """Add the control maps to the inputs of a job, after drawing those that the client did not supply. For
    one thread at a time.

    Raises: JobRejected, if the pose image is missing or unreadable, or a map is empty; NotInstalled,
    ModelUnreadable, and what a detector raises.
    """
    parts, spec = resources.parts, job.order.spec
    overlay = job_inputs.init_image.overlay
    maps = control_maps(job.order, inputs, resources.detect, job.mapped, overlay)
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


@dataclass(frozen=True, slots=True, eq=False)
class PendingJob:
    """A job that is being preprocessed."""

    admission: Admission
    job: OpenJob
    inputs: Inputs
    job_inputs: JobInputs | None = None
    """Set once they are loaded."""


@dataclass(frozen=True, slots=True)
class _Threads:
    parser: WatchdogThread[PendingJob]
    loader: WatchdogThread[PendingJob]
    detector: WatchdogThread[PendingJob]


class Preprocessor:
    """Preprocesses jobs. All public methods are for the stepping thread."""

    def __init__(self, resources: EngineResources, wake: Wake, timeout_s: float = TIMEOUT_S) -> None:
        self._resources = resources
        self._wake = wake
        self._timeout_s = timeout_s
        self._ready: SimpleQueue[tuple[PendingJob, JobInputs]] = SimpleQueue()
        self._threads: _Threads | None = None
        self._broken: torch.AcceleratorError | None = None
        self._is_closed = False

    def enter(self, pending: PendingJob) -> None:
        """Preprocess a job. Returns at once; `wake` is called when it is ready or has failed."""
        pending.job.begin_preparing()
        threads = self._started()
        is_parsed = self._resources.prompt_encoder.is_parsed(pending.job.order)
        (threads.loader if is_parsed else threads.parser).put(pending)

    def take_ready(self) -> Iterator[tuple[PendingJob, JobInputs]]:
        """The jobs that are ready, each once.

        Raises: torch.AcceleratorError, if the device failed while one was preprocessed.
        """
        if self._broken is not None:
            raise self._broken
        while True:
            try:
                yield self._ready.get_nowait()
            except Empty:
                return

    def close(self) -> None:
        """Finish the jobs that are being worked on, and discard those that wait."""
        self._is_closed = True
        if self._threads is not None:
            # In the order in which they hand over to each other.
            self._threads.parser.close()
            self._threads.loader.close()
            self._threads.detector.close()

    def _started(self) -> _Threads:
        if self._threads is None:
            self._threads = _Threads(
                parser=self._thread("parser", self._parse, "encoding the prompts"),
                loader=self._thread("reader", self._load, "loading models and decoding images"),
                detector=self._thread("detector", self._detect, "drawing control maps"),
            )
        return self._threads

    def _thread(self, name: str, work: Callable[[PendingJob], None], what: str) -> WatchdogThread[PendingJob]:
        @torch.inference_mode()
        def do(pending: PendingJob) -> None:
            if pending.job.is_open and not self._is_closed and self._broken is None:
                try:
                    work(pending)
                except Exception as error:  # noqa: BLE001 - the border of one job: its error must not harm another
                    self._fail(pending, error)

        return WatchdogThread(name, do, partial(self._give_up, what), self._timeout_s)

    def _parse(self, pending: PendingJob) -> None:
        order = pending.job.order
        self._resources.prompt_encoder.read(order)
        if is_cached(self._resources, order, pending.inputs):
            self._load(pending)
        else:
            self._started().loader.put(pending)

    def _load(self, pending: PendingJob) -> None:
        job_inputs = read_inputs(self._resources, pending.job.order, pending.inputs)
        loaded = replace(pending, job_inputs=job_inputs)
        if needs_detector(pending.job.order.spec):
            self._started().detector.put(loaded)
        else:
            self._add_controls(loaded)

    def _detect(self, pending: PendingJob) -> None:
        pending.job.begin_preparing()
        self._add_controls(pending)

    def _add_controls(self, pending: PendingJob) -> None:
        assert pending.job_inputs is not None, "they were loaded"
        job_inputs = with_controls(self._resources, pending.job, pending.inputs, pending.job_inputs)
        self._ready.put((pending, job_inputs))
        self._wake()

    def _fail(self, pending: PendingJob, error: Exception) -> None:
        try:
            fail_job(pending.job, error)
        except torch.AcceleratorError as broken:
            self._broken = broken
        self._wake()

    def _give_up(self, what: str, pending: PendingJob, is_running: bool) -> None:
        whose = "it" if is_running else "another job ahead of it"
        text = f"preparing the job timed out: {what} for {whose} took longer than {self._timeout_s:.0f} s"
        _log.warning(line("preparing_given_up", job_id=pending.job.order.job_id, what=what))
        pending.job.fail(JobBroke.code, text)
        self._wake()
