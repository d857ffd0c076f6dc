"""News from the Manager for the threads that wait for it: event streams and `?wait=`."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final

from api.session import Preview
from kernel.protocol.client import Changed, JobProgress, ModelProgress, Watching
from kernel.protocol.enums import ENDED_JOB_STATES, ChangeKind, JobState, ModelState
from kernel.protocol.ids import EventSeq, JobId, ModelId

MAX_UNREAD: Final = 1_000
"""A subscriber that lies further behind is told to read the database again instead."""


@dataclass(frozen=True, slots=True)
class Reread:
    """Something may have been missed: read the database again."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The server stops: end the stream."""


@dataclass(frozen=True, slots=True)
class _PreviewCame:
    """There is a preview of the picture with this index; which one is seen when it is read."""

    index: int


Notice = Changed | JobProgress | Preview | ModelProgress | Reread | Closing


class Subscription:
    """One thread's ear at the hub; a context manager that leaves the hub at its end."""

    def __init__(
        self, hub: "Hub", ids: tuple[str, ...] | None, *, sees_progress: bool, sees_previews: bool
    ) -> None:
        self._hub = hub
        self.ids = ids
        """What it listens to; None: everything."""
        self._sees_progress = sees_progress
        self._sees_previews = sees_previews
        self._unread: SimpleQueue[Notice | _PreviewCame] = SimpleQueue()
        self._is_behind = False
        self._previews: dict[int, Preview] = {}
        """The newest of each picture that is unread: whoever reads slowly gets fewer, and no old ones."""
        self._lock = threading.Lock()

    def next(self, timeout_s: float) -> Notice | None:
        """The next notice, or None when there is none for so long."""
        try:
            notice = self._resolved(self._unread.get(timeout=max(0.0, timeout_s)))
        except Empty:
            return None
        if self._is_behind and self._unread.empty() and not isinstance(notice, Closing):
            self._is_behind = False
            return Reread()
        return notice

    def put(self, notice: Notice) -> None:
        """Called by the hub. What this one does not look at does not wake it.

        The last of too many notices is read as Reread; Closing always comes through.
        """
        if not self._sees(notice):
            return
        if isinstance(notice, Preview):
            self._put_preview(notice)
        elif self._unread.qsize() >= MAX_UNREAD and not isinstance(notice, Closing):
            self._is_behind = True
        else:
            self._unread.put(notice)

    def _sees(self, notice: Notice) -> bool:
        match notice:
            case Preview():
                return self._sees_previews
            case JobProgress() | ModelProgress():
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
    """Hands each notice to those who listen to its id, and keeps the latest progress of what is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_all: set[Subscription] = set()
        self._of_id: dict[str, set[Subscription]] = {}
        self._jobs: dict[str, JobProgress] = {}
        self._models: dict[str, ModelProgress] = {}
        self._last_seq: EventSeq | None = None
        self._is_closed = False

    def subscribe(
        self, ids: Sequence[str] | None, *, sees_progress: bool = True, sees_previews: bool = False
    ) -> Subscription:
        """Listen to these ids, or to everything. Subscribe first, read the database second."""
        subscription = Subscription(
            self,
            None if ids is None else tuple(ids),
            sees_progress=sees_progress,
            sees_previews=sees_previews,
        )
        with self._lock:
            if subscription.ids is None:
                self._of_all.add(subscription)
            else:
                for thing_id in subscription.ids:
                    self._of_id.setdefault(thing_id, set()).add(subscription)
            if self._is_closed:
                subscription.put(Closing())
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Forget a subscription; twice is harmless."""
        with self._lock:
            self._of_all.discard(subscription)
            for thing_id in subscription.ids or ():
                listeners = self._of_id.get(thing_id, set())
                listeners.discard(subscription)
                if not listeners:
                    self._of_id.pop(thing_id, None)

    def job_progress(self, job_id: JobId) -> JobProgress | None:
        """How far a job is, as far as this process has heard."""
        return self._jobs.get(job_id)

    def model_progress(self, model_id: ModelId) -> ModelProgress | None:
        """How far a model's download is, as far as this process has heard."""
        return self._models.get(model_id)

    def publish(self, news: Watching | Changed | JobProgress | Preview | ModelProgress) -> None:
        """Take news from the bus. Called by the bus thread alone."""
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

    def restart(self) -> None:
        """Another Manager answers: nothing that was heard before holds."""
        self._jobs.clear()
        self._models.clear()
        self._last_seq = None
        self.tell_to_reread()

    def tell_to_reread(self) -> None:
        """Tell every subscriber that it may have missed something."""
        self._tell_everyone(Reread())

    def close(self) -> None:
        """Tell every subscriber, now and later, that the server stops."""
        with self._lock:
            self._is_closed = True
        self._tell_everyone(Closing())

    def _catch_up(self, seq: EventSeq) -> None:
        if self._last_seq is not None and seq != self._last_seq:
            self.tell_to_reread()
        self._last_seq = seq

    def _forget_progress(self, change: Changed) -> None:
        if change.kind is ChangeKind.JOB and change.state in ENDED_JOB_STATES | {JobState.WAITING}:
            self._jobs.pop(change.id, None)
        elif change.kind is ChangeKind.MODEL and change.state != ModelState.DOWNLOADING:
            self._models.pop(change.id, None)

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
