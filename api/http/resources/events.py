"""/v1/events: every change of models, engines, jobs and images, as one stream."""

import threading
from collections import deque
from collections.abc import Generator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

import falcon
import msgspec

from api.http.contract.caller import Caller, caller_of
from api.http.contract.progress import EngineProgressEvent, ModelProgressEvent, bytes_event_of
from api.http.contract.responses import moment
from api.http.framework import sse
from api.http.framework.concurrency_limit import ConcurrencyLimit
from api.http.framework.route import EventStream
from api.http.resources.job_events import JobProgressEvent, progress_event
from api.hub import Closing, Hub, Reread, Subscription
from kernel.protocol.client import Changed, EngineProgress, JobProgress, ModelProgress
from kernel.protocol.enums import ChangeKind
from kernel.protocol.ids import EventSeq, KeyId
from kernel.protocol.rows import ChangeRow
from kernel.views.events import events_after, known_events
from kernel.views.reader import Reader
from kernel.views.rows import SeqRange

BATCH: Final = 500
KEPT_FRAMES: Final = 2_000
"""Changes that are kept encoded, for the streams that are not far behind."""


_PRIVATE: Final = frozenset({ChangeKind.JOB, ChangeKind.IMAGE, ChangeKind.KEY, ChangeKind.WEBHOOK})


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


class Change(msgspec.Struct, frozen=True, gc=False):
    """A change as a frame, with the API key that it belongs to, if it belongs to one or none."""

    seq: EventSeq
    frame: bytes
    is_private: bool
    key_id: KeyId | None


class Latest:
    """The latest changes as frames: read and encoded once for all streams. Thread-safe."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._frames: deque[Change] = deque(maxlen=KEPT_FRAMES)
        self._begin = self._last = EventSeq(0)
        """All changes after the first number, up to the second, are here."""

    def begin(self, last: EventSeq) -> None:
        """Have this number among those that are here; it is the newest of the database, which may be another
        one than before."""
        with self._lock:
            if self._last < last <= self._last + BATCH:
                self._read_on()
            if not self._begin <= last <= self._last:
                self._frames.clear()
                self._begin = self._last = last

    def after(self, seen: EventSeq, heard: EventSeq | None) -> Sequence[Change]:
        """At most BATCH changes after `seen`, oldest first. The database is read only if it may have more.

        `heard`: the number of the newest change that the stream has heard of; None: unknown.
        """
        with self._lock:
            if not self._begin <= seen <= self._last:
                return _read(self._reader, seen)
            if heard is None or heard > self._last:
                self._read_on()
            return [one for one in self._frames if one.seq > seen][:BATCH]

    def _read_on(self) -> None:
        for one in _read(self._reader, self._last):
            if len(self._frames) == KEPT_FRAMES:
                self._begin = self._frames[0].seq
            self._frames.append(one)
            self._last = one.seq


class Events:
    """The stream of all changes. A notice on the bus only wakes it: it sends the content of the database."""

    def __init__(self, reader: Reader, hub: Hub, slots: ConcurrencyLimit) -> None:
        self._reader = reader
        self._hub = hub
        self._slots = slots
        self._latest = Latest(reader)

    def show(self, req: falcon.Request, resp: falcon.Response) -> None:
        seen = sse.last_seen(req)
        sse.describe(resp)
        if req.method != "HEAD":
            resp.stream = self.open(req, seen)

    def open(self, req: falcon.Request, seen: EventSeq | None) -> sse.Stream:
        """The stream after an event; it must be dropped.

        Raises: TooManyStreams, if there is no place.
        """
        known = known_events(self._reader)
        self._latest.begin(known.last)
        leave, caller = sse.take_place(self._slots, req), caller_of(req)
        return sse.Stream(
            lambda ear: self._frames(seen, known, ear, caller),
            lambda ring: self._hub.subscribe(None, ring, subscriber=caller),
            leave,
            left_s=caller.left_s,
        )

    def _frames(
        self, last_seen: EventSeq | None, known: SeqRange, ear: Subscription, caller: Caller
    ) -> sse.Frames:
        yield sse.RETRY
        seen = known.last if last_seen is None else last_seen
        if seen + 1 < known.first or seen > known.last:
            seen = known.last
            yield sse.frame("reset", ResetEvent(seq=seen), seen)
        heard: EventSeq | None = None
        while True:
            events = self._latest.after(seen, heard)
            for one in events:
                seen = one.seq
                if not one.is_private or caller.sees(one.key_id):
                    yield one.frame
            if len(events) < BATCH:
                notice = yield from _rest(ear, seen)
                if isinstance(notice, Closing):
                    return
                heard = notice.seq if isinstance(notice, Changed) else None


def _rest(ear: Subscription, seen: EventSeq) -> Generator[bytes, None, Changed | Closing | Reread]:
    """Progress, until there may be a change after `seen`. Returns: what says so."""
    while True:
        notice = ear.next(0)
        if notice is None:
            yield sse.PAUSE
            notice = ear.next(0) or Reread()  # woken by nobody: from time to time the database is asked
        match notice:
            case Closing() | Reread():
                return notice
            case Changed():
                if notice.seq > seen:
                    return notice
            case JobProgress() | ModelProgress() | EngineProgress():
                yield _progress_frame(notice)


@lru_cache(maxsize=64)
def _progress_frame(progress: JobProgress | ModelProgress | EngineProgress) -> bytes:
    """A frame that many streams send."""
    match progress:
        case JobProgress():
            return sse.frame("job_progress", progress_event(progress))
        case ModelProgress():
            return sse.frame("model_progress", bytes_event_of(progress))
        case EngineProgress():
            return sse.frame("engine_progress", bytes_event_of(progress))


def _read(reader: Reader, seen: EventSeq) -> list[Change]:
    return [_change_of(event) for event in events_after(reader, seen, BATCH)]


def _change_of(event: ChangeRow) -> Change:
    """The change of a key is its holder's, and for those who see everything."""
    key_id = KeyId(event.id) if event.kind is ChangeKind.KEY else event.key_id
    return Change(event.seq, _frame_of(event), event.kind in _PRIVATE, key_id)


def _frame_of(event: ChangeRow) -> bytes:
    payload = ChangeEvent(kind=event.kind, id=event.id, state=event.state, at=moment(event.at_ms))
    return sse.frame(event.kind, payload, event.seq)
