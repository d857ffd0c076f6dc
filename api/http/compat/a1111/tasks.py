"""Which job a client means when it asks for progress or interrupts: its own, and nobody else's.

A1111 has one state for all. Here a job is found by the id that its client gave it (`force_task_id`), else it
is the newest open one of the same key, else of the same address. All of this is forgotten with the process:
so is the connection on which the client waits for its images.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import falcon

from api.http.contract.caller import caller_of
from api.hub import Hub, Notice
from api.session import Preview
from kernel.protocol.client import Changed, JobProgress
from kernel.protocol.enums import ENDED_JOB_STATES, ChangeKind
from kernel.protocol.ids import JobId
from kernel.views.jobs import find_job
from kernel.views.reader import Reader
from kernel.views.rows import JobRow

MOST: Final = 4_096
"""Jobs that are remembered: as many as requests can wait, and more."""
ANONYMOUS: Final = ""


@dataclass(frozen=True, slots=True)
class Client:
    """A client, as far as the server can tell one from another."""

    key: str
    """The id of its key; ANONYMOUS without one."""
    address: str

    @property
    def name(self) -> str:
        return self.key or f"address {self.address}"


def client_of(req: falcon.Request) -> Client:
    """The client of a request."""
    return Client(caller_of(req).key_id or ANONYMOUS, req.remote_addr)


@dataclass(slots=True)
class Task:
    """A job that a client waits for."""

    job_id: JobId
    caller: str
    task_id: str
    name: str
    """That of its route."""
    preview: bytes | None = None
    previews: int = 0
    """How many there were."""
    is_interrupted: bool = False


class Tasks:
    """Remembers the jobs of clients, and the newest preview of each. Thread-safe."""

    ids = None
    """As a listener of the hub: to all ids."""

    def __init__(self, reader: Reader, hub: Hub) -> None:
        self._reader = reader
        self._hub = hub
        self._lock = threading.Lock()
        self._tasks: OrderedDict[JobId, Task] = OrderedDict()
        hub.join(self)

    def add(self, task: Task) -> None:
        with self._lock:
            self._tasks[task.job_id] = task
            while len(self._tasks) > MOST:
                self._tasks.popitem(last=False)

    def put(self, notice: Notice) -> None:
        """Called by the hub."""
        if isinstance(notice, Preview):
            with self._lock:
                task = self._tasks.get(notice.job_id)
                if task is not None:
                    task.preview, task.previews = notice.data, task.previews + 1
        elif (
            isinstance(notice, Changed) and notice.kind is ChangeKind.JOB and notice.state in ENDED_JOB_STATES
        ):
            with self._lock:
                task = self._tasks.get(JobId(notice.id))
                if task is not None:
                    task.preview = None

    def open(self, caller: Client) -> list[tuple[Task, JobRow]]:
        """The caller's open jobs, the oldest first."""
        with self._lock:
            own = [one for one in self._tasks.values() if one.caller == caller.name]
        found = [(task, row) for task in own if (row := self._open_row(task)) is not None]
        still = {task.job_id for task, _ in found}
        with self._lock:
            for task in own:
                if task.job_id not in still and not task.task_id:
                    self._tasks.pop(task.job_id, None)
        return found

    def newest(self, caller: Client, task_id: str | None = None) -> tuple[Task, JobRow] | None:
        """The caller's job of this id, or its newest one; None, if there is none that is open."""
        found = [one for one in self.open(caller) if not task_id or one[0].task_id == task_id]
        return found[-1] if found else None

    def called(self, caller: Client, task_id: str) -> Task | None:
        """The caller's job of this id, open or not."""
        with self._lock:
            found = [
                one for one in self._tasks.values() if (one.caller, one.task_id) == (caller.name, task_id)
            ]
        return found[-1] if found else None

    def progress(self, task: Task) -> JobProgress | None:
        return self._hub.job_progress(task.job_id)

    def _open_row(self, task: Task) -> JobRow | None:
        row = find_job(self._reader, task.job_id)
        return None if row is None or row.status in ENDED_JOB_STATES else row
