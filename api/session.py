"""The API's half of the bus protocol, pure: which message to send, when to resend it, and which request a
reply answers.

The connection may lose messages in either direction and the Manager may restart, so every command is resent
until it is answered; its idempotency key makes that safe (adr/0004). At most MAX_UNANSWERED commands are in
flight, because the Manager refuses more from one peer; the others wait here. Requests that nobody answers are
given up when their own time is over. The subscription to changes is renewed periodically, so one that the
Manager has lost heals by itself; the reply's change number shows whether changes were missed, and then
everybody reads the database again. Time is an argument and there is no socket, so tests play every loss and
restart without waiting.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

from msgspec import Struct

from kernel.protocol import codec
from kernel.protocol.client import (
    ApiCommand,
    BrokerReply,
    Changed,
    EngineProgress,
    GetStatus,
    JobPreview,
    JobProgress,
    ModelProgress,
    Refused,
    Watch,
    Watching,
)
from kernel.protocol.codec import Frame, Received
from kernel.protocol.endpoints import MAX_UNANSWERED
from kernel.protocol.errors import ManagerUnreachable, SpoonError
from kernel.protocol.header import NO_CORRELATION
from kernel.protocol.ids import NO_EPOCH, Epoch, JobId
from kernel.protocol.refusals import error_of

RETRY_AFTER_S: Final = 2.0
"""Seconds that a caller is told to wait if the Manager does not answer."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview of one image of a job after some steps: `data` is a small JPEG file."""

    job_id: JobId
    index: int
    step: int
    data: bytes


Outcome = BrokerReply | SpoonError
News = Watching | Changed | JobProgress | Preview | ModelProgress | EngineProgress
"""Messages that the Manager sends to its subscribers."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a session waits before each action, in seconds."""

    resend_after_s: float = 2.0
    give_up_after_s: float = 10.0
    watch_every_s: float = 10.0
    """A lost subscription, or a dead connection, is noticed after this time and one resend."""


class Question(Struct, frozen=True):
    """A request to the Manager, with the callback for its outcome. `asked_at` is in monotonic seconds."""

    correlation: bytes
    message: ApiCommand | GetStatus
    asked_at: float
    answer: Callable[[Outcome], None]
    blobs: tuple[bytes, ...] = ()


class Heard(Struct, frozen=True):
    """The meaning of a message from the Manager for the subscribers."""

    news: News | None
    is_new_epoch: bool


class Session:
    """One API process's conversation with the Manager. It belongs to one thread; time is an argument."""

    def __init__(self, now: float, patience: Patience) -> None:
        self._patience = patience
        self.epoch: Epoch = NO_EPOCH
        self.resent = 0
        self.given_up = 0
        self._waiting: deque[Question] = deque()
        self._in_flight: dict[bytes, tuple[Question, float]] = {}
        """By correlation, with the time of the last sending; the oldest sending comes first."""
        self._watch_at = now
        self._heard_at = now
        self._silent_since: float | None = None

    def ask(self, question: Question) -> None:
        """Take a request; it is sent when it fits into the window of unanswered ones."""
        self._waiting.append(question)

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._in_flight

    @property
    def unanswered(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    def silence_s(self, now: float) -> float:
        """For how long the Manager has not answered; other threads may call it, too."""
        since = self._silent_since
        return 0.0 if since is None else now - since

    def outgoing(self, now: float) -> list[list[Frame]]:
        """The messages to send now. One that cannot be sent may be dropped: it is due again later."""
        frames: list[list[Frame]] = []
        if self._watch_at <= now:
            self._watch_at = now + self._patience.watch_every_s
            frames.append(codec.encode(Watch(takes_bundles=True), NO_CORRELATION, self.epoch))
        for question in self._due(now):
            frames.append(codec.encode(question.message, question.correlation, self.epoch, question.blobs))
        if self._in_flight and self._silent_since is None:
            self._silent_since = now
        return frames

    def hear(self, received: Received[BrokerReply], now: float) -> Heard:
        """Take a message of the Manager: a reply to a request, or news."""
        self._heard_at = now
        is_new_epoch = self.epoch not in (NO_EPOCH, received.head.epoch)
        self.epoch = received.head.epoch
        if is_new_epoch:
            self.reconnected(now)
        reply = received.body
        if isinstance(reply, JobPreview):
            return Heard(_preview_of(reply, received.blobs), is_new_epoch)
        if isinstance(reply, Watching | Changed | JobProgress | ModelProgress | EngineProgress):
            return Heard(reply, is_new_epoch)
        flight = self._in_flight.pop(received.head.correlation, None)
        if flight is not None:
            flight[0].answer(_outcome_of(reply))
        self._silent_since = now if self._in_flight else None
        return Heard(None, is_new_epoch)

    def reconnected(self, now: float) -> None:
        """The Manager may be another one: resend everything at once."""
        self._watch_at = now
        self._in_flight = {key: (question, -inf) for key, (question, _) in self._in_flight.items()}

    def is_deaf(self, now: float) -> bool:
        """True if the Manager has not answered for so long that the connection may be dead."""
        return now >= self._deaf_at

    def redialled(self, now: float) -> None:
        """The connection is new: allow it the same time before calling it dead."""
        self._heard_at = now
        self.reconnected(now)

    def next_deadline(self) -> float:
        """When `outgoing` has something to do without an event."""
        deadline = min(self._watch_at, self._deaf_at)
        if self._in_flight:
            _, sent_at = next(iter(self._in_flight.values()))
            deadline = min(deadline, sent_at + self._patience.resend_after_s)
        if self._waiting:
            deadline = min(deadline, self._waiting[0].asked_at + self._patience.give_up_after_s)
        return deadline

    def give_up(self, error: SpoonError) -> None:
        """Answer every open request with this error: the process is ending."""
        questions = [question for question, _ in self._in_flight.values()] + list(self._waiting)
        self._in_flight.clear()
        self._waiting.clear()
        for question in questions:
            question.answer(error)

    @property
    def _deaf_at(self) -> float:
        return self._heard_at + self._patience.watch_every_s + self._patience.resend_after_s

    def _due(self, now: float) -> list[Question]:
        """Move due requests to the end of the window; drop those that have waited too long."""
        again = [
            q for q, sent_at in self._in_flight.values() if sent_at + self._patience.resend_after_s <= now
        ]
        for question in again:
            del self._in_flight[question.correlation]
        alive = [question for question in again if self._is_alive(question, now)]
        self.resent += len(alive)
        while self._waiting and len(self._in_flight) + len(alive) < MAX_UNANSWERED:
            question = self._waiting.popleft()
            if self._is_alive(question, now):
                alive.append(question)
        while self._waiting and not self._is_alive(self._waiting[0], now):
            self._waiting.popleft()
        for question in alive:
            self._in_flight[question.correlation] = (question, now)
        return alive

    def _is_alive(self, question: Question, now: float) -> bool:
        if now - question.asked_at < self._patience.give_up_after_s:
            return True
        self.given_up += 1
        question.answer(ManagerUnreachable(retry_after_s=RETRY_AFTER_S))
        return False


def _preview_of(told: JobPreview, blobs: tuple[Frame, ...]) -> Preview | None:
    """A preview with its image; None, if the blob is missing."""
    if not blobs:
        return None
    return Preview(told.job_id, told.index, told.step, bytes(blobs[0]))


def _outcome_of(reply: BrokerReply) -> Outcome:
    if isinstance(reply, Refused):
        return error_of(reply)
    return reply
