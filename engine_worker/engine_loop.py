"""An engine worker's main thread: carries out the session's tasks, and steps the engine in between."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Final, assert_never

from msgspec.structs import replace

from engine_worker.formats.allowed_paths import resolve
from engine_worker.model_files.job_files import FilesReady, JobFiles
from engine_worker.model_files.local_models import LocalModels
from engine_worker.port import Dropped, Emit, Engine, Failed, Outcome, Stepped, Wake
from engine_worker.preload import read_ahead
from engine_worker.session.actions import Adjust, Admit, Cancel, Deliver, Exit, Inspect, Load, Scan, Task
from engine_worker.shell import Inbox, Woken
from kernel.process.memory import give_back_freed_memory
from kernel.protocol.enums import Stage
from kernel.protocol.errors import ModelUnreadable, SpoonError
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import EngineLoad, JobOrder
from kernel.protocol.worker import EngineFailed, EngineProgress, EngineReady

BuildEngine = Callable[[Emit, Wake], Engine]
"""Builds an engine that is not loaded yet. May import heavy packages.

Raises: NotInstalled, if a package is missing.
"""
Report = Callable[[EngineReady | EngineFailed | Outcome], None]
"""Takes the engine's reports, from any thread."""
RELEASE_AFTER_S: Final = (30.0, 120.0)
"""Twice: at the first time, the last images may still be decoded and encoded."""


@dataclass(frozen=True, slots=True)
class Memory:
    """How memory that only work needs is returned to the system: by `release`, after an engine has loaded,
    and after each of these idle times."""

    release: Callable[[], None] = give_back_freed_memory
    after_s: Sequence[float] = RELEASE_AFTER_S


class EngineLoop:
    """Owns the engine. Everything but `Report` runs in the thread that calls `run`."""

    def __init__(
        self,
        inbox: Inbox,
        build: BuildEngine,
        report: Report,
        roots: Sequence[Path] | None = None,
        memory: Memory = Memory(),
        models: LocalModels | None = None,
    ) -> None:
        """`roots` are the folders that may contain models; None for an engine that opens no files. `models`
        is for a worker of another host, whose orders name files that it may lack."""
        self._inbox = inbox
        self._build = build
        self._roots = roots
        self._report = report
        self._memory = memory
        self._engine: Engine | None = None
        self._models = models
        self._job_files = None if models is None else JobFiles(models, inbox.put, self._tell_copying)

    def run(self) -> Exit:
        """Work until the session ends. Returns: how it ended.

        Raises: any exception of a defective engine.
        """
        has_steps = False
        pauses: Iterator[float] = iter(())
        while True:
            try:
                task = self._inbox.get(block=not has_steps, timeout=next(pauses, None))
            except Empty:
                if has_steps:
                    has_steps = self._step()
                    pauses = iter(self._memory.after_s)
                else:
                    self._memory.release()
                continue
            if isinstance(task, Exit):
                self._close()
                return task
            if isinstance(task, FilesReady):
                self._admit_ready(task)
            elif not isinstance(task, Woken):
                self._do(task)
            has_steps = self._engine is not None

    def _step(self) -> bool:
        return self._engine is not None and self._engine.step()

    def _do(self, task: Task) -> None:
        if isinstance(task, Load):
            self._load(task.load)
        elif self._engine is not None:
            self._do_with(self._engine, task)

    def _do_with(self, engine: Engine, task: Adjust | Admit | Cancel | Inspect | Scan | Deliver) -> None:
        match task:
            case Admit():
                self._admit(engine, task)
            case Adjust():
                engine.adjust(task.max_batch)
            case Cancel(job_id) if self._job_files is not None and self._job_files.forget(job_id):
                self._report(Dropped(job_id))
            case Cancel():
                engine.cancel(task.job_id)
            case Inspect() | Scan() | Deliver():
                """The session of an engine worker never asks for this."""
            case _:
                assert_never(task)

    def _admit(self, engine: Engine, task: Admit) -> None:
        """Admit a job whose models are on this host; those of another one are brought here first."""
        if self._job_files is None:
            self._admit_local(engine, task)
            return
        try:
            models = self._job_files.local(task.order.models)
        except SpoonError as error:
            self._report(Failed(task.order.job_id, error.code, error.detail))
            return
        if models is None:
            self._job_files.bring(task)
        else:
            self._admit_local(engine, Admit(replace(task.order, models=models), task.inputs))

    def _admit_ready(self, ready: FilesReady) -> None:
        if self._engine is None or self._job_files is None or not self._job_files.takes(ready):
            return
        if ready.error is not None:
            self._report(Failed(ready.task.order.job_id, ready.error.code, ready.error.detail))
        else:
            self._admit_local(self._engine, ready.task)

    def _tell_copying(self, order: JobOrder) -> None:
        """A model of the job is on its way; called from the thread that copies it."""
        steps = order.spec.steps * len(order.pictures)
        self._report(Stepped(order.job_id, 0, steps, Stage.PREPARING))

    def _admit_local(self, engine: Engine, task: Admit) -> None:
        order = task.order
        try:
            if self._roots is not None:
                order = replace(order, models=_confine_all(order.models, self._roots))
        except ModelUnreadable as error:
            self._report(Failed(order.job_id, error.code, error.detail))
            return
        engine.admit(order, task.inputs)

    def _load(self, load: EngineLoad) -> None:
        try:
            if self._models is not None:
                load = self._with_local_models(load, self._models)
            confined = load if self._roots is None else _confine(load, self._roots)
            if self._roots is not None:
                models = (confined.checkpoint, *confined.models)
                read_ahead((resolve(model.uri, self._roots) for model in models), self._roots)
            engine = self._build(self._report, self._wake)
            loaded = engine.load(confined)
        except SpoonError as error:
            self._report(EngineFailed(engine_id=load.engine_id, code=error.code, text=error.detail))
            return
        self._memory.release()
        self._engine = engine
        self._report(
            EngineReady(
                engine_id=load.engine_id,
                device=loaded.device,
                memory_bytes=loaded.memory_bytes,
                capacity=loaded.capacity,
                seen=loaded.seen,
            )
        )

    def _with_local_models(self, load: EngineLoad, models: LocalModels) -> EngineLoad:
        """The same order with models on this host, after copying those that it lacks.

        Raises: SpoonError, if one cannot be copied.
        """

        def moved(done_bytes: int, total_bytes: int, bytes_per_s: int | None) -> None:
            copied = EngineProgress(
                engine_id=load.engine_id,
                bytes=done_bytes,
                total_bytes=total_bytes,
                bytes_per_s=bytes_per_s,
                is_copying=True,
            )
            self._report(copied)

        checkpoint, *others = models.bring_all((load.checkpoint, *load.models), moved)
        return replace(load, checkpoint=checkpoint, models=tuple(others))

    def _wake(self) -> None:
        """Called from any thread."""
        self._inbox.put(Woken())

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.close()


def _confine(load: EngineLoad, roots: Sequence[Path]) -> EngineLoad:
    """The same order with model URIs that were checked to lie inside the roots of this host.

    Raises: ModelUnreadable, if one of them does not.
    """
    (checkpoint,) = _confine_all((load.checkpoint,), roots)
    return replace(load, checkpoint=checkpoint, models=_confine_all(load.models, roots))


def _confine_all(models: Sequence[ModelSource], roots: Sequence[Path]) -> tuple[ModelSource, ...]:
    """Raises: ModelUnreadable, if a model lies outside the roots."""
    return tuple(replace(model, uri=resolve(model.uri, roots).as_uri()) for model in models)
