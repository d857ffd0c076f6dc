"""Distributes the Manager's news to those that wait for it: event streams and `?wait=`.

A notice only wakes somebody, who then reads the database. So a notice that is lost, merged or repeated
does no harm, and nothing here has to be durable. That allows the bounds: a subscriber that reads slowly keeps
at most MAX_UNREAD notices, after which they are replaced by one Reread, and of previews only the newest per
image. Subscribe first, read the database second: a change between the two then causes one needless read
instead of being missed. Progress is not in the database, so the latest of each open job, model and engine is
kept here, and forgotten when another Manager answers. `publish` runs in the bus thread and never waits for a
subscriber.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final, Protocol

from api.session import News, Preview
from kernel.protocol.client import Changed, EngineProgress, JobProgress, ModelProgress, Watching
from kernel.protocol.enums import ENDED_JOB_STATES, ChangeKind, JobState, ModelState
from kernel.protocol.ids import EngineId, EventSeq, JobId, KeyId, ModelId

_WITHOUT_PROGRESS: Final = ENDED_JOB_STATES | {JobState.WAITING}
MAX_UNREAD: Final = 1_000
"""Notices kept for a slow subscriber; beyond that it is told to read the database again instead."""


@dataclass(frozen=True, slots=True)
class Reread:
    """Notices may have been missed: read the database again."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The server is stopping, or the key of the reader may have ended: end the stream."""


@dataclass(frozen=True, slots=True)
class _PreviewCame:
    """A preview of the image with this index; the newest one is taken when the notice is read."""

    index: int


Notice = Changed | JobProgress | Preview | ModelProgress | EngineProgress | Reread | Closing


class Listener(Protocol):
    """Gets the notices about its ids."""

    @property
    def ids(self) -> tuple[str, ...] | None:
        """None: all ids."""
        ...

    def put(self, notice: Notice) -> None:
        """Called by the bus thread: it must not wait."""
        ...


class Subscriber(Protocol):
    """Who subscribes."""

    @property
    def key_id(self) -> KeyId | None:
        """Its API key, if it has one."""
        ...

    @property
    def sees_only(self) -> KeyId | None:
        """The key whose jobs it sees alone; None: those of all."""
        ...


class Subscription:
    """A reader's subscription; a context manager that ends it."""

    def __init__(
        self,
        hub: "Hub",
        ids: tuple[str, ...] | None,
        ring: Callable[[], None],
        *,
        sees_progress: bool,
        sees_previews: bool,
        subscriber: Subscriber | None,
    ) -> None:
        """`ring` is called by the bus thread whenever there is something to read."""
        self._hub = hub
        self.ids = ids
        self._ring = ring
        self._sees_progress = sees_progress
        self._sees_previews = sees_previews
        self._key_id = None if subscriber is None else subscriber.key_id
        self._sees_only = None if subscriber is None else subscriber.sees_only
        self._unread: SimpleQueue[Notice | _PreviewCame] = SimpleQueue()
        self._is_behind = False
        self._previews: dict[int, Preview] = {}
        """The newest unread preview of each image: a slow reader gets fewer, and no old ones."""
        self._lock = threading.Lock()

    def next(self, timeout_s: float) -> Notice | None:
        """The next notice; None, if there is none within `timeout_s`."""
        try:
            notice = self._resolved(self._unread.get(timeout=max(0.0, timeout_s)))
        except Empty:
            return None
        if self._is_behind and self._unread.empty() and not isinstance(notice, Closing):
            self._is_behind = False
            return Reread()
        return notice

    def put(self, notice: Notice) -> None:
        """Called by the hub, with notices about its ids only.

        If there are too many notices, the last is read as Reread; Closing is always delivered.
        """
        if self._key_id is not None and self._may_end_key(notice):
            notice = Closing()
        if not self._sees(notice):
            return
        if isinstance(notice, Preview):
            self._put_preview(notice)
        elif self._unread.qsize() >= MAX_UNREAD and not isinstance(notice, Closing):
            self._is_behind = True
        else:
            self._unread.put(notice)
        self._ring()

    def _may_end_key(self, notice: Notice) -> bool:
        """Whether the reader's key may be invalid from now on: it is to come back, and show it again."""
        if isinstance(notice, Changed):
            return notice.kind is ChangeKind.KEY and notice.id == self._key_id
        return isinstance(notice, Reread)

    def _sees(self, notice: Notice) -> bool:
        match notice:
            case Preview():
                return self._sees_previews
            case JobProgress():
                return self._sees_progress and self._sees_only in (None, notice.key_id)
            case ModelProgress() | EngineProgress():
                return self._sees_progress
            case _:
                return True

    def _put_preview(self, preview: Preview) -> None:
        with self._lock:
            is_announced = preview.index in self._previews
            self._previews[preview.index] = preview
        if not is_announced:
            self._unread.put(_PreviewCame(preview.index))

    def _resolved(self, notice: Notice | _PreviewCame) -> Notice:
        if not isinstance(notice, _PreviewCame):
            return notice
        with self._lock:
            return self._previews.pop(notice.index)

    def close(self) -> None:
        self._hub.leave(self)

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Hub:
    """Delivers notices to the subscribers of their ids, and keeps the latest progress of open work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_all: set[Listener] = set()
        self._of_id: dict[str, set[Listener]] = {}
        self._jobs: dict[str, JobProgress] = {}
        self._models: dict[str, ModelProgress] = {}
        self._engines: dict[str, EngineProgress] = {}
        self._last_seq: EventSeq | None = None
        self._is_closed = False

    def subscribe(
        self,
        ids: Sequence[str] | None,
        ring: Callable[[], None] = lambda: None,
        *,
        sees_progress: bool = True,
        sees_previews: bool = False,
        subscriber: Subscriber | None = None,
    ) -> Subscription:
        """Subscribe to these ids, or to everything. Subscribe first, read the database second.

        `subscriber` is told to close when its API key changes, and hears of what it sees alone.
        """
        subscription = Subscription(
            self,
            None if ids is None else (*ids, *_key_of(subscriber)),
            ring,
            sees_progress=sees_progress,
            sees_previews=sees_previews,
            subscriber=subscriber,
        )
        self.join(subscription)
        return subscription

    def join(self, listener: Listener) -> None:
        """Deliver the notices about its ids from now on."""
        with self._lock:
            if listener.ids is None:
                self._of_all.add(listener)
            for thing_id in listener.ids or ():
                self._of_id.setdefault(thing_id, set()).add(listener)
            is_closed = self._is_closed
        if is_closed:
            listener.put(Closing())

    def leave(self, listener: Listener) -> None:
        """End the delivery; a repeated call has no effect."""
        with self._lock:
            self._of_all.discard(listener)
            for thing_id in listener.ids or ():
                listeners = self._of_id.get(thing_id, set())
                listeners.discard(listener)
                if not listeners:
                    self._of_id.pop(thing_id, None)

    def job_progress(self, job_id: JobId) -> JobProgress | None:
        """A job's progress, as far as this process has received it."""
        return self._jobs.get(job_id)

    def model_progress(self, model_id: ModelId) -> ModelProgress | None:
        """A model's download progress, as far as this process has received it."""
        return self._models.get(model_id)

    def engine_progress(self, engine_id: EngineId) -> EngineProgress | None:
        """The progress of an engine that is being loaded, as far as this process has received it."""
        return self._engines.get(engine_id)

    def publish(self, news: News) -> None:
        """Take news from the bus. Called by the bus thread only."""
        match news:
            case Watching():
                self._catch_up(news.seq)
            case Changed():
                self._forget_progress(news)
                if self._last_seq is not None and news.seq != self._last_seq + 1:
                    self.tell_to_reread()
                self._last_seq = news.seq
                self._tell(news.id, news)
            case JobProgress():
                self._jobs[news.job_id] = news
                self._tell(news.job_id, news)
            case Preview():
                self._tell(news.job_id, news)
            case ModelProgress():
                self._models[news.model_id] = news
                self._tell(news.model_id, news)
            case EngineProgress():
                self._engines[news.engine_id] = news
                self._tell(news.engine_id, news)

    def restart(self) -> None:
        """Another Manager answers: forget all progress."""
        self._jobs.clear()
        self._models.clear()
        self._engines.clear()
        self._last_seq = None
        self.tell_to_reread()

    def tell_to_reread(self) -> None:
        """Tell every subscriber to read the database again."""
        self._tell_everyone(Reread())

    def close(self) -> None:
        """Tell every subscriber, present and future, that the server is stopping."""
        with self._lock:
            self._is_closed = True
        self._tell_everyone(Closing())

    def _catch_up(self, seq: EventSeq) -> None:
        if self._last_seq is not None and seq != self._last_seq:
            self.tell_to_reread()
        self._last_seq = seq

    def _forget_progress(self, change: Changed) -> None:
        if change.kind is ChangeKind.JOB and change.state in _WITHOUT_PROGRESS:
            self._jobs.pop(change.id, None)
        elif change.kind is ChangeKind.MODEL and change.state != ModelState.DOWNLOADING:
            self._models.pop(change.id, None)
        elif change.kind is ChangeKind.ENGINE:  # also when it starts anew
            self._engines.pop(change.id, None)

    def _tell(self, thing_id: str, notice: Notice) -> None:
        with self._lock:
            listeners = [*self._of_id.get(thing_id, ()), *self._of_all]
        for subscription in listeners:
            subscription.put(notice)

    def _tell_everyone(self, notice: Notice) -> None:
        with self._lock:
            everyone = {one for listeners in self._of_id.values() for one in listeners} | self._of_all
        for subscription in everyone:
            subscription.put(notice)


def _key_of(subscriber: Subscriber | None) -> tuple[str, ...]:
    return () if subscriber is None or subscriber.key_id is None else (subscriber.key_id,)
