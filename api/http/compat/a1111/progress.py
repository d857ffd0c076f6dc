"""Progress, interruption and skipping of the caller's own job."""

from base64 import b64encode
from collections.abc import Callable
from typing import Final

import falcon

from api.http.compat.a1111.answers import PendingTasks, QueuedTask, TaskProgress, TaskState
from api.http.compat.a1111.reading import LenientReader, strange_parameters
from api.http.compat.a1111.requests import TaskInput
from api.http.compat.a1111.sending import send_null, send_told, stamp
from api.http.compat.a1111.tasks import Task, Tasks, client_of
from api.http.contract.request_parsing import MAX_JSON_BYTES
from api.port import BusPort
from kernel.protocol.client import CancelJob, Done, JobProgress
from kernel.protocol.enums import JobState
from kernel.protocol.errors import IllegalMove, JobNotFound
from kernel.views.jobs import jobs_ahead
from kernel.views.reader import Reader
from kernel.views.rows import JobRow

TASK_PARAMETERS: Final = ("force_task_id", "id_task")
"""Our addition: which of several jobs of one caller is meant."""
_BEGUN: Final = 0.01
"""The progress of a job that is processed, before its first step."""


class ProgressOf:
    """Looks at the caller's jobs, and ends them."""

    def __init__(self, bus: BusPort, reader: Reader, tasks: Tasks, now_ms: Callable[[], int]) -> None:
        self._bus = bus
        self._now_ms = now_ms
        self._reader = reader
        self._tasks = tasks
        self._task_body = LenientReader(TaskInput, MAX_JSON_BYTES)

    def show(self, req: falcon.Request, resp: falcon.Response) -> None:
        """GET /sdapi/v1/progress"""
        told = strange_parameters(req, (*TASK_PARAMETERS, "skip_current_image"))
        found = self._tasks.newest(client_of(req), _task_id_in(req))
        if found is None:
            send_told(resp, TaskProgress(state=TaskState(job_timestamp=stamp(self._now_ms()))), told)
            return
        task, row = found
        shown = _progress_of(task, row, self._tasks.progress(task), self._queue_text(row))
        if (req.get_param("skip_current_image") or "").lower() in ("true", "1"):
            shown = TaskProgress(
                progress=shown.progress,
                eta_relative=shown.eta_relative,
                state=shown.state,
                textinfo=shown.textinfo,
            )
        send_told(resp, shown, told)

    def show_task(self, req: falcon.Request, resp: falcon.Response) -> None:
        """POST /internal/progress"""
        asked, told = self._task_body.read(req)
        caller = client_of(req)
        found = self._tasks.newest(caller, asked.id_task) if asked.id_task else None
        if found is None:
            is_known = bool(asked.id_task) and self._tasks.called(caller, asked.id_task) is not None
            send_told(resp, QueuedTask(active=False, queued=False, completed=is_known), told)
            return
        task, row = found
        if row.status is JobState.WAITING:
            text = self._queue_text(row)
            send_told(resp, QueuedTask(active=False, queued=True, completed=False, textinfo=text), told)
            return
        progress = self._tasks.progress(task)
        is_new = asked.live_preview and task.preview is not None and task.previews != asked.id_live_preview
        shown = QueuedTask(
            active=True,
            queued=False,
            completed=False,
            progress=_fraction(progress),
            eta=None if progress is None else progress.eta_s,
            live_preview=_data_url(task.preview or b"") if is_new else None,
            id_live_preview=task.previews if is_new else asked.id_live_preview,
        )
        send_told(resp, shown, told)

    def list(self, req: falcon.Request, resp: falcon.Response) -> None:
        """GET /internal/pending-tasks"""
        ids = tuple(task.task_id or task.job_id for task, _ in self._tasks.open(client_of(req)))
        send_told(resp, PendingTasks(size=len(ids), tasks=ids), strange_parameters(req))

    def interrupt(self, req: falcon.Request, resp: falcon.Response) -> None:
        """POST /sdapi/v1/interrupt: the images that are finished stay."""
        self._end(req)
        send_told(resp, {}, strange_parameters(req, TASK_PARAMETERS))

    def skip(self, req: falcon.Request, resp: falcon.Response) -> None:
        """POST /sdapi/v1/skip: a job of one image ends; of one with more, no single image can be left out."""
        told = strange_parameters(req, TASK_PARAMETERS)
        found = self._tasks.newest(client_of(req), _task_id_in(req))
        if found is not None and found[1].spec.count > 1:
            told.append("skip has no effect on a job of several images: interrupt it")
        else:
            self._end(req)
        send_null(resp, told)

    def _end(self, req: falcon.Request) -> None:
        found = self._tasks.newest(client_of(req), _task_id_in(req))
        if found is None:
            return
        found[0].is_interrupted = True
        try:
            self._bus.ask(CancelJob(job_id=found[0].job_id), Done)
        except (IllegalMove, JobNotFound):
            return  # it has ended meanwhile

    def _queue_text(self, row: JobRow) -> str | None:
        """As A1111 says it: the place of a waiting job."""
        if row.status is not JobState.WAITING:
            return None
        return f"In queue: {jobs_ahead(self._reader, row) + 1}"


def _task_id_in(req: falcon.Request) -> str | None:
    return next((found for name in TASK_PARAMETERS if (found := req.get_param(name))), None)


def _progress_of(
    task: Task, row: JobRow, progress: JobProgress | None, queue_text: str | None
) -> TaskProgress:
    is_processing = row.status is JobState.PROCESSING
    return TaskProgress(
        progress=_fraction(progress) if is_processing else 0.0,
        eta_relative=(progress.eta_s or 0.0) if progress is not None and is_processing else 0.0,
        state=TaskState(
            interrupted=task.is_interrupted,
            job=f"scripts_{task.name}",
            job_count=1,
            job_timestamp=stamp(row.created_at_ms),
            sampling_step=0 if progress is None else progress.step,
            sampling_steps=row.spec.steps if progress is None else progress.steps,
        ),
        current_image=task.preview,
        textinfo=queue_text,
    )


def _fraction(progress: JobProgress | None) -> float:
    if progress is None or not progress.steps:
        return _BEGUN
    return round(min(1.0, max(_BEGUN, progress.step / progress.steps)), 4)


def _data_url(preview: bytes) -> str:
    return f"data:image/jpeg;base64,{b64encode(preview).decode()}"
