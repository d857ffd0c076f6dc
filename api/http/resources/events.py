"""/v1/events: every change of models, engines, jobs and images, as one stream."""

from collections.abc import Generator, Iterator
from datetime import datetime
from typing import Final

import falcon
import msgspec

from api.http.contract.progress import EngineProgressEvent, ModelProgressEvent, bytes_event_of
from api.http.contract.responses import moment
from api.http.framework import sse
from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.route import EventStream
from api.http.resources.job_events import JobProgressEvent, progress_event
from api.hub import Closing, Hub, Reread, Subscription
from kernel.protocol.client import Changed, EngineProgress, JobProgress, ModelProgress
from kernel.protocol.enums import ChangeKind
from kernel.protocol.ids import EventSeq
from kernel.protocol.rows import ChangeRow
from kernel.views.events import events_after, known_events
from kernel.views.reader import Reader
from kernel.views.rows import SeqRange

BATCH: Final = 500


class ChangeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`event: model`, `engine`, `job` or `image`: it is in another state now."""

    kind: ChangeKind
    id: str
    state: str
    at: datetime


class ResetEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`event: reset`. Changes before this number are forgotten: read again whatever you show."""

    seq: int


EVENTS: Final = EventStream(
    "EventData",
    {
        **dict.fromkeys(ChangeKind, ChangeEvent),
        "job_progress": JobProgressEvent,
        "model_progress": ModelProgressEvent,
        "engine_progress": EngineProgressEvent,
        "reset": ResetEvent,
    },
)


class Events:
    """The stream of all changes. A notice on the bus only wakes it: it sends the content of the database."""

    def __init__(self, reader: Reader, hub: Hub, slots: ConcurrencyLimit) -> None:
        self._reader = reader
        self._hub = hub
        self._streams = slots

    def show(self, req: falcon.Request, resp: falcon.Response) -> None:
        seen = sse.last_seen(req)
        if req.method == "HEAD":
            sse.describe(resp)
            return
        sse.describe(resp)
        resp.stream = self.open(seen)

    def open(self, seen: EventSeq | None) -> sse.Stream:
        """The stream after an event; it must be closed.

        Raises: TooManyStreams, if all slots are taken.
        """
        known = known_events(self._reader)
        sse.take_stream_slot(self._streams)
        ear = self._hub.subscribe(None)
        return sse.Stream(self._frames(seen, known, ear), ear, self._streams)

    def _frames(self, last_seen: EventSeq | None, known: SeqRange, ear: Subscription) -> Iterator[bytes]:
        yield sse.RETRY
        seen = known.last if last_seen is None else last_seen
        if seen + 1 < known.first or seen > known.last:
            seen = known.last
            yield sse.frame("reset", ResetEvent(seq=seen), seen)
        while True:
            events = events_after(self._reader, seen, BATCH)
            for event in events:
                seen = event.seq
                yield _frame_of(event)
            if len(events) < BATCH and (yield from _rest(ear, seen)):
                return


def _rest(ear: Subscription, seen: EventSeq) -> Generator[bytes, None, bool]:
    """Progress and keep-alives, until there is a change after `seen`. Returns: True, if the server is
    stopping."""
    while True:
        match ear.next(sse.KEEP_ALIVE_S):
            case None:
                yield sse.KEEP_ALIVE
                return False
            case Closing():
                return True
            case Reread():
                return False
            case Changed() as change:
                if change.seq > seen:
                    return False
            case JobProgress() as progress:
                yield sse.frame("job_progress", progress_event(progress))
            case ModelProgress() as progress:
                yield sse.frame("model_progress", bytes_event_of(progress))
            case EngineProgress() as progress:
                yield sse.frame("engine_progress", bytes_event_of(progress))


def _frame_of(event: ChangeRow) -> bytes:
    payload = ChangeEvent(kind=event.kind, id=event.id, state=event.state, at=moment(event.at_ms))
    return sse.frame(event.kind, payload, event.seq)
