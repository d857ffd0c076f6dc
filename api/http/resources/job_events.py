"""/v1/jobs/{job_id}/events: what happens to one job, until it ends."""

from base64 import b64encode
from collections.abc import Generator
from datetime import datetime
from typing import Final

import falcon
import msgspec

from api.http.contract.caller import caller_of
from api.http.contract.engine_errors import awaited, engine_error_of
from api.http.contract.job_types import progress_of
from api.http.contract.progress import EngineProgressEvent, bytes_event_of
from api.http.contract.responses import StoredError, moment, stored_error
from api.http.framework import sse
from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.route import EventStream
from api.http.resources.ownership import find_seen_job
from api.hub import Closing, Hub, Subscription
from api.session import Preview
from kernel.protocol.client import Changed, EngineProgress, JobProgress
from kernel.protocol.enums import ENDED_JOB_STATES, ChangeKind, JobState, Stage, WaitsFor
from kernel.protocol.ids import EventSeq, ImageId, JobId
from kernel.protocol.rows import ChangeRow
from kernel.views.engines import find_engine
from kernel.views.events import events_of, known_events
from kernel.views.images import find_image
from kernel.views.jobs import find_job
from kernel.views.reader import Reader
from kernel.views.rows import JobRow, SeqRange

BATCH: Final = 100


class JobStateEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`event: state`. The error comes with the state `failed`."""

    job_id: str
    status: str
    at: datetime
    error: StoredError | None
    image_ids: tuple[str, ...]


class JobWaitingEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`event: waiting`. Its engine has failed: why, and what the job waits for now. Not numbered."""

    job_id: str
    waits_for: WaitsFor
    error: StoredError


class JobProgressEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`event: progress`. Not numbered: only the latest counts."""

    job_id: str
    stage: Stage
    step: int
    steps: int
    fraction: float
    eta_s: float | None


class JobPreviewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`event: preview`. How a picture looks so far: a small JPEG file as a data: URL. Not numbered."""

    job_id: str
    index: int
    step: int
    data_url: str


class JobImageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`event: image`. An image of the job can be had, or can be had no longer."""

    job_id: str
    image_id: str
    index: int
    state: str
    at: datetime
    download: str


JOB_EVENTS: Final = EventStream(
    "JobEventData",
    {
        "state": JobStateEvent,
        "waiting": JobWaitingEvent,
        "progress": JobProgressEvent,
        "engine_progress": EngineProgressEvent,
        "preview": JobPreviewEvent,
        "image": JobImageEvent,
    },
)


class JobEvents:
    """Streams of single jobs. A notice on the bus only wakes them: they send the content of the database."""

    def __init__(self, reader: Reader, hub: Hub, slots: ConcurrencyLimit) -> None:
        self._reader = reader
        self._hub = hub
        self._slots = slots

    def show(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """204 tells a client that reconnects after the end not to do so again."""
        row = find_seen_job(self._reader, caller_of(req), job_id)
        seen = sse.last_seen(req)
        if seen is not None and row.status in ENDED_JOB_STATES and not self._events(row, seen):
            resp.status = 204
        elif req.method == "HEAD":
            sse.describe(resp)
        else:
            sse.describe(resp)
            resp.stream = self.open(req, row, seen)

    def open(self, req: falcon.Request, row: JobRow, seen: EventSeq | None) -> sse.Stream:
        """The stream of a job after an event; it must be dropped.

        Raises: TooManyStreams, if there is no place.
        """
        ids, caller = (row.job_id, *row.image_ids, row.engine_id), caller_of(req)
        leave = sse.take_place(self._slots, req)
        return sse.Stream(
            lambda ear: self._frames(row.job_id, seen, ear),
            lambda ring: self._hub.subscribe(ids, ring, sees_previews=True, subscriber=caller),
            leave,
            left_s=caller.left_s,
        )

    def _frames(self, job_id: JobId, seen: EventSeq | None, ear: Subscription) -> sse.Frames:
        yield sse.RETRY
        known = known_events(self._reader)  # before the row, so that no change falls between the two
        row = self._find(job_id)
        at, told = seen or EventSeq(0), None
        if row is not None and self._is_forgotten(row, seen, known):
            at = known.last
            yield _state_frame(row, row.status, _since_ms(row), at)
        while row is not None:
            events = self._events(row, at)
            for event in events:
                at = event.seq
                yield self._frame_of(row, event)
            if row.status in ENDED_JOB_STATES and len(events) < BATCH:
                return
            waiting = self._waiting(row)
            if waiting is not None and waiting != told:
                yield sse.frame("waiting", waiting)
            told = waiting
            if len(events) < BATCH and (yield from _rest(ear, at)):
                return
            row = self._find(job_id)

    def _waiting(self, row: JobRow) -> JobWaitingEvent | None:
        """The error of the engine that a job waits for. It causes no notice of the job, so it is read
        whenever the stream wakes, which is every few seconds."""
        engine = find_engine(self._reader, row.engine_id) if row.status is JobState.WAITING else None
        trouble = None if engine is None else engine_error_of(engine)
        if engine is None or trouble is None:
            return None
        return JobWaitingEvent(job_id=row.job_id, waits_for=awaited(engine), error=trouble)

    def _find(self, job_id: JobId) -> JobRow | None:
        return find_job(self._reader, job_id)

    def _events(self, row: JobRow, seen: EventSeq) -> list[ChangeRow]:
        return events_of(self._reader, (row.job_id, *row.image_ids), seen, BATCH)

    def _frame_of(self, row: JobRow, event: ChangeRow) -> bytes:
        if event.kind is ChangeKind.JOB:
            return _state_frame(row, event.state, event.at_ms, event.seq)
        image = find_image(self._reader, ImageId(event.id))
        if image is None:  # deleted with its job since that was read
            return b""
        found = JobImageEvent(
            job_id=row.job_id,
            image_id=event.id,
            index=image.position,
            state=event.state,
            at=moment(event.at_ms),
            download=f"/v1/images/{event.id}/download",
        )
        return sse.frame("image", found, event.seq)

    def _is_forgotten(self, row: JobRow, seen: EventSeq | None, known: SeqRange) -> bool:
        """True if changes that the client has not seen are no longer in the database."""
        if seen is None:
            return all(event.kind is not ChangeKind.JOB for event in self._events(row, EventSeq(0)))
        return seen + 1 < known.first or seen > known.last


def _rest(ear: Subscription, seen: EventSeq) -> Generator[bytes, None, bool]:
    """Progress, until there may be a change after `seen`. Returns: True, if the server is stopping."""
    while True:
        notice = ear.next(0)
        if notice is None:
            yield sse.PAUSE
            notice = ear.next(0)
        match notice:
            case JobProgress() as progress:
                yield sse.frame("progress", progress_event(progress))
            case EngineProgress() as loading:
                yield sse.frame("engine_progress", bytes_event_of(loading))
            case Preview() as preview:
                yield sse.frame("preview", _preview_event(preview))
            case Changed() as change:
                if change.seq > seen:
                    return False
            case Closing():
                return True
            case _:
                return False


def _since_ms(row: JobRow) -> int:
    """Since when the job has been in its state."""
    since_ms = {JobState.WAITING: row.created_at_ms, JobState.PROCESSING: row.started_at_ms}
    return since_ms.get(row.status, row.finished_at_ms) or row.created_at_ms


def _state_frame(row: JobRow, state: str, at_ms: int, seq: EventSeq) -> bytes:
    error = stored_error(row.error_code, row.error) if state == JobState.FAILED else None
    event = JobStateEvent(
        job_id=row.job_id, status=state, at=moment(at_ms), error=error, image_ids=row.image_ids
    )
    return sse.frame("state", event, seq)


def progress_event(progress: JobProgress) -> JobProgressEvent:
    """The progress of a job, as an event."""
    shown = progress_of(progress)
    return JobProgressEvent(
        job_id=progress.job_id,
        stage=shown.stage,
        step=shown.step,
        steps=shown.steps,
        fraction=shown.fraction,
        eta_s=shown.eta_s,
    )


def _preview_event(preview: Preview) -> JobPreviewEvent:
    return JobPreviewEvent(
        job_id=preview.job_id,
        index=preview.index,
        step=preview.step,
        data_url=f"data:image/jpeg;base64,{b64encode(preview.data).decode()}",
    )
