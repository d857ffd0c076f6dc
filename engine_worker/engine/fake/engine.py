"""An engine without weights, for tests: as strict as the real one, fast, and misbehaves if a prompt says so.

The same order gives the same bytes. Images are PNG files of the requested size, whatever the file type. Jobs
are stepped together, as many as `max_batch` says (default 4), one image of each at a time; a step takes as
long as that of the slowest job. Other features work as far as they are visible on the bus: control maps (PNG,
derived from the pose image's bytes), previews after each step, the stage of background removal. Directives in
a prompt:

    [slow 50ms]         each step takes 50 ms (or `2s`)
    [crash]             the process dies in the job's second step, or in its only one, with CRASH_STATUS
    [hang]              the step never returns
    [oom]               the job's first step ends it with `out_of_memory`
    [bug]               the step raises, as that of a defective engine would
    [fail]              the job is refused with `job_rejected` when it is admitted
    [warn]              the job completes with a warning
    [echo]              the job completes with a warning for each input image (`pose` and its sha256), and
                        for each model in its order (`lora` and its name)
    [ignore cancel]     a cancel is ignored
    [crash-once PATH]   as [crash], unless PATH exists; PATH is created first, so this happens once
    [hang-once PATH]    as [hang], in the same way
    [until PATH]        the job makes no step before PATH exists

Directives in the checkpoint's name or address: `slow-load-3s` (or `500ms`), `crash-load`, `hang-load`,
`fail-load` (with `engine_failed`), `oom-load` (with `out_of_memory`). With `[unless PATH]` in the name the
last four do nothing once PATH exists.
"""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from engine_worker.engine.fake.directives import JobDirectives, LoadDirectives, read_checkpoint, read_prompt
from engine_worker.engine.fake.image_files import PNG_MIME, draw_jpeg, draw_png
from engine_worker.port import (
    NO_INPUTS,
    Completed,
    Dropped,
    Emit,
    Failed,
    ImageEncoded,
    Inputs,
    Loaded,
    Mapped,
    Previewed,
    Stepped,
)
from kernel.protocol.enums import InputKind, Stage
from kernel.protocol.errors import EngineFailed, JobRejected, OutOfMemory
from kernel.protocol.ids import JobId
from kernel.protocol.specs import EngineLoad, JobOrder
from kernel.protocol.worker import EngineProgress

CRASH_STATUS: Final = 86
"""The exit code of a requested crash, which neither Python nor a signal would return."""
DEFAULT_CAPACITY: Final = 4
MEMORY_BYTES: Final = 64 << 20

_HOUR_S: Final = 3600.0
_LOOK_AGAIN_S: Final = 0.01


@dataclass(slots=True)
class _Job:
    order: JobOrder
    directives: JobDirectives
    digests: dict[InputKind, str]
    """The sha256 of each input image."""
    done_steps: int = 0
    done_images: int = 0

    @property
    def all_steps(self) -> int:
        return self.order.spec.steps * len(self.order.pictures)


class FakeEngine:
    """Implements the engine port."""

    def __init__(
        self,
        emit: Emit,
        sleep: Callable[[float], None] = time.sleep,
        end_process: Callable[[int], None] = os._exit,
    ) -> None:
        self._emit = emit
        self._sleep = sleep
        self._end_process = end_process
        self._capacity = DEFAULT_CAPACITY
        self._jobs: dict[JobId, _Job] = {}

    def load(self, order: EngineLoad) -> Loaded:
        """Follow the directives of the checkpoint's name, and be ready.

        Raises: EngineFailed, OutOfMemory, if directed.
        """
        directives = read_checkpoint(order.checkpoint.name, order.checkpoint.uri)
        for quarter in range(4):
            progress = EngineProgress(
                engine_id=order.engine_id, bytes=quarter * MEMORY_BYTES // 4, total_bytes=MEMORY_BYTES
            )
            if directives.load_s:
                self._emit(progress)
            self._sleep(directives.load_s / 4)
        self._obey_before_loading(directives)
        self._capacity = order.max_batch or DEFAULT_CAPACITY
        device = "cpu" if order.device == "auto" else order.device
        return Loaded(device=device, memory_bytes=MEMORY_BYTES, capacity=self._capacity)

    def adjust(self, max_batch: int) -> None:
        """Step as many jobs together from now on."""
        self._capacity = max_batch

    def admit(self, order: JobOrder, inputs: Inputs = NO_INPUTS) -> None:
        """Admit a job and draw its control maps, or fail it if its prompt says so."""
        directives = read_prompt(order.spec.prompt)
        if directives.is_failure:
            self._emit(Failed(order.job_id, JobRejected.code, "the prompt told the fake engine to fail"))
            return
        digests = {kind: hashlib.sha256(data).hexdigest() for kind, data in inputs.items()}
        self._jobs[order.job_id] = job = _Job(order, directives, digests)
        for mapped in _maps(job):
            self._emit(mapped)

    def cancel(self, job_id: JobId) -> None:
        """Drop a job, unless its prompt says to ignore a cancel."""
        job = self._jobs.get(job_id)
        if job is not None and not job.directives.is_deaf:
            del self._jobs[job_id]
            self._emit(Dropped(job_id))

    def step(self) -> bool:
        """Make one step of the oldest jobs, up to the capacity."""
        batch = list(self._jobs.values())[: self._capacity]
        ready = [job for job in batch if job.directives.until is None or job.directives.until.exists()]
        self._sleep_through(batch, ready)
        for job in ready:
            self._step_one(job)
        return bool(self._jobs)

    def close(self) -> None:
        """There is nothing to free."""
        self._jobs.clear()

    def _obey_before_loading(self, directives: LoadDirectives) -> None:
        if directives.is_crash:
            self._end_process(CRASH_STATUS)
        if directives.is_hang:
            self._hang()
        if directives.is_failure:
            raise EngineFailed("the checkpoint's name told the fake engine to fail")
        if directives.is_oom:
            raise OutOfMemory("the checkpoint's name told the fake engine to run out of memory")

    def _sleep_through(self, batch: list[_Job], ready: list[_Job]) -> None:
        step_s = max((job.directives.step_s for job in ready), default=0.0)
        if batch and not ready:
            step_s = _LOOK_AGAIN_S
        if step_s > 0:
            self._sleep(step_s)

    def _step_one(self, job: _Job) -> None:
        self._misbehave(job)
        if job.directives.is_oom:
            self._end(
                job,
                Failed(
                    job.order.job_id, OutOfMemory.code, "the prompt told the fake engine to run out of memory"
                ),
            )
            return
        if job.done_steps < job.all_steps:
            job.done_steps += 1
            self._emit(Stepped(job.order.job_id, job.done_steps, job.all_steps))
            self._preview(job)
        self._emit_finished_images(job)
        if job.done_images == len(job.order.pictures):
            self._end(job, Completed(job.order.job_id, _warnings(job)))

    def _preview(self, job: _Job) -> None:
        if job.order.spec.previews:
            position = (job.done_steps - 1) // job.order.spec.steps
            step = job.done_steps - position * job.order.spec.steps
            index = job.order.pictures[position].index
            data = draw_jpeg(f"image {index}, step {step}")
            self._emit(Previewed(job.order.job_id, index, step, data))

    def _misbehave(self, job: _Job) -> None:
        wants = job.directives
        is_crash_step = job.done_steps == min(1, max(0, job.all_steps - 1))
        if is_crash_step and (wants.is_crash or _is_first_time(wants.crash_once)):
            self._end_process(CRASH_STATUS)
        if wants.is_bug:
            raise RuntimeError("the prompt asked for a defect")
        if wants.is_hang or _is_first_time(wants.hang_once):
            self._hang()

    def _emit_finished_images(self, job: _Job) -> None:
        """A job without steps finishes all its images at once."""
        steps, count = job.order.spec.steps, len(job.order.pictures)
        finished = min(job.done_steps // steps, count) if steps else count
        for position in range(job.done_images, finished):
            if job.order.spec.remove_background:
                stage = Stage.REMOVING_BACKGROUND
                self._emit(Stepped(job.order.job_id, job.done_steps, job.all_steps, stage))
            self._emit(_image(job, position))
        job.done_images = finished

    def _end(self, job: _Job, outcome: Completed | Failed) -> None:
        del self._jobs[job.order.job_id]
        self._emit(outcome)

    def _hang(self) -> None:
        while True:
            self._sleep(_HOUR_S)


def _is_first_time(path: Path | None) -> bool:
    """True once per path, across processes: the file is the memory."""
    if path is None:
        return False
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _warnings(job: _Job) -> tuple[str, ...]:
    told = ["the prompt asked for a warning"] if job.directives.is_warning else []
    if job.directives.is_echo:
        told += [f"{kind} {digest}" for kind, digest in job.digests.items()]
        told += [f"{model.model_type} {model.name}" for model in job.order.models]
    return tuple(told)


def _maps(job: _Job) -> list[Mapped]:
    """One for each control that needs a detector."""
    spec, pose = job.order.spec, job.digests.get(InputKind.POSE)
    return [
        Mapped(
            job_id=job.order.job_id,
            control_type=use.control_type,
            data=draw_png(f"{use.control_type} {pose}", spec.width_px, spec.height_px),
        )
        for use in spec.controls
        if not use.is_preprocessed
    ]


def _image(job: _Job, position: int) -> ImageEncoded:
    order = job.order
    spec, wanted = order.spec, order.pictures[position]
    recipe = repr((replace(spec, seed=wanted.seed, count=1), sorted(job.digests.items())))
    return ImageEncoded(
        job_id=order.job_id,
        index=wanted.index,
        image_id=wanted.image_id,
        seed=wanted.seed,
        mime=PNG_MIME,
        width_px=spec.width_px,
        height_px=spec.height_px,
        data=draw_png(recipe, spec.width_px, spec.height_px),
    )
