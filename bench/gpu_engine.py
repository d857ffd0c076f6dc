"""The whole engine on a GPU, as a worker runs it, and how long its jobs take."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition
from typing import Final

import torch

from bench.bell import Bell
from bench.memory_passes import source_of
from engine_worker.engine.diffusers_engine import build
from engine_worker.port import Completed, Dropped, Engine, Failed, Outcome, Stepped
from kernel.protocol.enums import Compilation, ImageFileType, Scheduler
from kernel.protocol.ids import EngineId, ImageId, JobId
from kernel.protocol.specs import EngineLoad, JobOrder, JobSpec, PictureOrder

GPU: Final = torch.device("cuda:0")
WAIT_S: Final = 120.0
"""No picture takes this long to be decoded."""
SCHEDULERS: Final = (
    Scheduler.DPMPP_2M_KARRAS,
    Scheduler.EULER_A,
    Scheduler.UNIPC,
    Scheduler.DDIM,
    Scheduler.EULER,
    Scheduler.DPMPP_2M_SDE_KARRAS,
)
"""Of mixed jobs; each calls the UNet once a step, so that all have the same work."""
PROMPTS: Final = ("a lighthouse at dusk", "a red ball on a green table", "", "an old map of a small island")


@dataclass
class Emitted:
    """What the engine has said; `emit` is called by several threads."""

    steps: dict[JobId, int] = field(default_factory=dict)
    ended: dict[JobId, Outcome] = field(default_factory=dict)
    changed: Condition = field(default_factory=Condition)

    def emit(self, outcome: Outcome) -> None:
        with self.changed:
            if isinstance(outcome, Stepped):
                self.steps[outcome.job_id] = outcome.step
            if isinstance(outcome, Completed | Failed | Dropped):
                self.ended[outcome.job_id] = outcome
                self.changed.notify_all()

    def wait_for(self, jobs: Sequence[JobId]) -> None:
        """Raises: RuntimeError, if a job was not completed."""
        with self.changed:
            self.changed.wait_for(lambda: all(job in self.ended for job in jobs), WAIT_S)
        for job in jobs:
            if not isinstance(self.ended.get(job), Completed):
                raise RuntimeError(f"{job} was not made: {self.ended.get(job)}")


class LoadedEngine:
    """One engine, loaded, and jobs of one size for it."""

    def __init__(self, engine: Engine, emitted: Emitted, size_px: int, steps: int) -> None:
        self._engine = engine
        self._emitted = emitted
        self._size_px = size_px
        self._steps = steps
        self._made = 0

    def seconds(self, pictures: int) -> float:
        """How long so many jobs take that come at once, to the last picture's file.

        Raises: RuntimeError, if one was not made.
        """
        begin_s = time.perf_counter()
        jobs = [self._admit(number) for number in range(pictures)]
        self._work_off(jobs)
        return time.perf_counter() - begin_s

    def steps_to_enter(self, busy_with: int) -> int:
        """How many steps a job waits that comes while so many others are being made: 1 is the next one."""
        others = [self._admit(number) for number in range(busy_with)]
        for _ in range(self._steps // 2):
            self._engine.step()
        newcomer = self._admit(busy_with)
        waited = 0
        while newcomer not in self._emitted.steps:
            self._engine.step()
            waited += 1
        self._work_off([*others, newcomer])
        return waited

    def _work_off(self, jobs: Sequence[JobId]) -> None:
        while self._engine.step():
            pass
        self._emitted.wait_for(jobs)

    def _admit(self, number: int) -> JobId:
        self._made += 1
        job_id = JobId(f"job-{self._made}")
        picture = PictureOrder(index=0, image_id=ImageId(f"image-{self._made}"), seed=self._made)
        spec = self._spec(number)
        self._engine.admit(JobOrder(job_id=job_id, spec=spec, pictures=(picture,)))
        return job_id

    def _spec(self, number: int) -> JobSpec:
        return JobSpec(
            prompt=PROMPTS[number % len(PROMPTS)],
            negative_prompt="blurry",
            seed=number,
            count=1,
            steps=self._steps,
            guidance_scale=5.0 + number % 4,
            width_px=self._size_px,
            height_px=self._size_px,
            scheduler=SCHEDULERS[number % len(SCHEDULERS)],
            # The quickest to encode: this is about the GPU.
            image_file_type=ImageFileType.JPEG,
        )


@dataclass(frozen=True, slots=True)
class Setup:
    """A checkpoint and how it is run."""

    path: Path
    size_px: int
    slots: int
    compilation: Compilation
    steps: int


@contextmanager
def loaded(setup: Setup) -> Iterator[tuple[LoadedEngine, float]]:
    """An engine, and the seconds that its loading took."""
    emitted = Emitted()
    engine = build(emitted.emit, Bell().ring)
    begin_s = time.perf_counter()
    engine.load(
        EngineLoad(
            engine_id=EngineId("engine"),
            checkpoint=source_of(setup.path),
            device=str(GPU),
            max_batch=setup.slots,
            compilation=setup.compilation,
            width_px=setup.size_px,
            height_px=setup.size_px,
        )
    )
    took_s = time.perf_counter() - begin_s
    try:
        yield LoadedEngine(engine, emitted, setup.size_px, setup.steps), took_s
    finally:
        engine.close()
