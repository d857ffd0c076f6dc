"""Follow one job to its end over server-sent events, or by polling if there is no stream."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from api.cli.client.client_models import DownloadProgress, Job, Progress, StoredError
from api.cli.client.rest import Rest, quoted, read
from api.cli.exit_codes import Refusal, ServerUnreachable
from kernel.protocol.enums import ENDED_JOB_STATES

Sleep = Callable[[float], None]

COMMENT: Final = "comment"
_POLL_S: Final = 1.0
_PATIENCE: Final = 60
"""Consecutive failures to reach the server: a minute, enough for a restart of the API."""
_TRY_LATER: Final = (429, 503)


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of a stream (HTML standard, 9.2 Server-sent events)."""

    kind: str
    data: str
    id: str | None


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a `preview` event: a small image as a data: URL."""

    index: int = 0
    data_url: str


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a `state` event."""

    status: str


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a `waiting` event: why the job's engine is not running."""

    job_id: str
    waits_for: str
    error: StoredError


def read_events(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """Parse the events of a stream. A comment, which keeps it alive, is an event of the kind COMMENT."""
    kind, data, last_id = "message", list[str](), None
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "" if not line:
                if data:
                    yield ServerEvent(kind, "\n".join(data), last_id)
                kind, data = "message", []
            case "":
                yield ServerEvent(COMMENT, "", last_id)
            case "event":
                kind = value
            case "data":
                data.append(value)
            case "id":
                last_id = value
            case _:
                pass


class Audience(Protocol):
    """The receiver of a followed job's events."""

    def waiting(self, job: Job) -> None: ...
    def loading(self, progress: DownloadProgress) -> None: ...
    def progress(self, progress: Progress) -> None: ...
    def preview(self, preview: Preview) -> None: ...


class Follower:
    """Follows one job until it ends. The job itself decides, not the state of the stream."""

    def __init__(self, rest: Rest, job_id: str, audience: Audience, sleep: Sleep = time.sleep) -> None:
        self._rest = rest
        self._path = f"/v1/jobs/{quoted(job_id)}"
        self._audience = audience
        self._sleep = sleep
        self._last_id: str | None = None
        self._is_waiting = False
        """Then the job is read again with each comment: its place in the queue causes no event."""

    def follow(self) -> bytes:
        """The ended job, as the server returns it.

        Raises: Refusal, if there is no such job; ServerUnreachable, after a minute without the server.
        """
        failures = 0
        while True:
            try:
                body = self._rest.get(self._path)
                failures = 0
                if self._is_ended(body):
                    return body
                if self._stream():
                    continue
            except ServerUnreachable:
                failures += 1
                if failures >= _PATIENCE:
                    raise
            except Refusal as refusal:
                # Too many streams are open, or the Manager is unavailable: poll instead.
                if refusal.problem.status not in _TRY_LATER:
                    raise
            self._sleep(_POLL_S)

    def _is_ended(self, body: bytes) -> bool:
        job = read(body, Job)
        if job.progress and not job.is_ended:
            self._audience.progress(job.progress)
        if job.waits_for is not None:
            self._audience.waiting(job)
        self._is_waiting = job.waits_for is not None
        return job.is_ended

    def _stream(self) -> bool:
        """Read events until the job or the stream ends. Returns: whether there were any."""
        are_any = False
        headers = {"Accept": "text/event-stream"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        with self._rest.stream(f"{self._path}/events", headers) as answer:
            for event in read_events(answer.iter_lines()):
                are_any = are_any or event.kind != COMMENT
                self._last_id = event.id or self._last_id
                if event.kind == COMMENT and self._is_waiting and self._is_ended(self._rest.get(self._path)):
                    break
                if event.kind == "waiting":
                    self._audience.waiting(_waiting(read(event.data.encode(), Waiting)))
                if event.kind == "engine_progress":
                    self._audience.loading(read(event.data.encode(), DownloadProgress))
                if event.kind == "progress":
                    self._audience.progress(read(event.data.encode(), Progress))
                if event.kind == "preview":
                    self._audience.preview(read(event.data.encode(), Preview))
                if event.kind == "state" and read(event.data.encode(), State).status in ENDED_JOB_STATES:
                    break
        return are_any


def _waiting(told: Waiting) -> Job:
    return Job(job_id=told.job_id, status="waiting", waits_for=told.waits_for, error=told.error)
