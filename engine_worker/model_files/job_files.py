"""Brings the models of jobs on a thread of its own, so that other jobs go on meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread

from msgspec.structs import replace

from engine_worker.model_files.local_models import LocalModels
from engine_worker.session.actions import Admit
from kernel.protocol.errors import SpoonError
from kernel.protocol.ids import JobId
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.specs import JobOrder


@dataclass(frozen=True, slots=True)
class FilesReady:
    """The models of a job are here, or cannot be: the main thread takes it from there."""

    serial: int
    task: Admit
    error: SpoonError | None = None


class JobFiles:
    """The jobs whose models are on their way. All methods are called by the main thread."""

    def __init__(
        self,
        models: LocalModels,
        ready: Callable[[FilesReady], None],
        moved: Callable[[JobOrder], None],
    ) -> None:
        """`ready` and `moved` are called from the thread."""
        self._models = models
        self._ready = ready
        self._moved = moved
        self._serial = 0
        self._coming: dict[JobId, int] = {}
        self._tasks: SimpleQueue[tuple[int, Admit]] = SimpleQueue()
        self._thread: Thread | None = None

    def local(self, sources: tuple[ModelSource, ...]) -> tuple[ModelSource, ...] | None:
        """The models with addresses on this host; None, if one of them is not here.

        Raises: SpoonError, if the cache cannot be used.
        """
        found = tuple(self._models.find(source) for source in sources)
        here = tuple(source for source in found if source is not None)
        return here if len(here) == len(found) else None

    def bring(self, task: Admit) -> None:
        """Bring the models of a job, then report FilesReady."""
        self._serial += 1
        self._coming[task.order.job_id] = self._serial
        if self._thread is None:
            self._thread = Thread(target=self._run, name="job-files", daemon=True)
            self._thread.start()
        self._tasks.put((self._serial, task))

    def forget(self, job_id: JobId) -> bool:
        """The job is not wanted any more. Returns: True, if its models were on their way."""
        return self._coming.pop(job_id, None) is not None

    def takes(self, ready: FilesReady) -> bool:
        """True if this job still waits for its models; it does no more."""
        job_id = ready.task.order.job_id
        if self._coming.get(job_id) != ready.serial:
            return False
        del self._coming[job_id]
        return True

    def _run(self) -> None:
        while True:
            serial, task = self._tasks.get()
            job_id = task.order.job_id
            if self._coming.get(job_id) == serial:
                self._ready(self._brought(serial, task))

    def _brought(self, serial: int, task: Admit) -> FilesReady:
        order = task.order
        try:
            models = self._models.bring_all(order.models, lambda *_: self._moved(order))
        except SpoonError as error:
            return FilesReady(serial, task, error)
        return FilesReady(serial, Admit(replace(order, models=models), task.inputs))
