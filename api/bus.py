"""The bus for the request threads: send a request, and wait for the reply."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

import msgspec

from api.bus_thread import BusThread
from api.hub import Hub
from api.port import Answer, answer_in
from api.session import RETRY_AFTER_S, Outcome, Patience, Question
from kernel.protocol.client import ApiAsk, ApiCommand, GetStatus
from kernel.protocol.errors import ManagerUnreachable, TooManyRequests
from kernel.protocol.status import Status
from kernel.protocol.uuid7 import Uuid7

MAX_WAITING: Final = 1_024
"""Requests that may be open in this process, before more are refused."""
MAX_LATER: Final = 512
"""Open requests above which `ask_later` refuses another one."""
SILENCE_S: Final = 2.0
"""Seconds; a commit takes milliseconds, on a busy disk hundreds of them."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Counters since the start, and the open requests."""

    asked: int
    resent: int
    given_up: int
    unanswered: int


class Bus:
    """The connection to the Manager, shared by all threads of this process."""

    def __init__(self, bus_folder: Path, hub: Hub, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._thread = BusThread(bus_folder, hub, self._patience)
        self._ids = Uuid7()
        self._encoder = msgspec.msgpack.Encoder()
        self._asked = 0

    def open(self) -> None:
        """Connect, and subscribe to changes.

        Raises: BadConfiguration, if the keys cannot be read.
        """
        self._thread.open()

    def close(self) -> None:
        """Wait a little for pending replies, refuse the other requests, disconnect."""
        self._thread.close()

    def ask(
        self, ask: ApiAsk, expected: type[Answer], key: str | None = None, blobs: Sequence[bytes] = ()
    ) -> Answer:
        """Send a command that is carried out once, and wait for the reply; see `BusPort.ask`."""
        timeout_s = self._patience.give_up_after_s + RETRY_AFTER_S
        outcome = self._wait(self._command(ask, key), timeout_s, blobs)
        return answer_in(outcome, expected)

    def ask_later(self, ask: ApiAsk, key: str | None, then: Callable[[Outcome], None]) -> None:
        """Send a command that is carried out once, with a callback; see `BusPort.ask_later`."""
        if self.is_silent:
            raise ManagerUnreachable(retry_after_s=RETRY_AFTER_S)
        self._check_open(MAX_LATER)
        self._hand_over(self._command(ask, key), then)

    def flush(self) -> None:
        """Send what `ask_later` has collected; see `BusPort.flush`."""
        self._thread.wake()

    def tell(self, ask: ApiAsk) -> None:
        """Send a command that is carried out once, without a reply; see `BusPort.tell`."""
        self._hand_over(self._command(ask, None), lambda outcome: None)
        self._thread.wake()

    def status(self, timeout_s: float) -> Status:
        """The Manager's status; see `BusPort.status`."""
        return answer_in(self._wait(GetStatus(), timeout_s), Status)

    @property
    def is_silent(self) -> bool:
        """True if the Manager has not answered for longer than it ever takes."""
        return self._thread.session.silence_s(time.monotonic()) > SILENCE_S

    def figures(self) -> Figures:
        """The counters for the metrics; read without a lock, so approximate."""
        session = self._thread.session
        return Figures(self._asked, session.resent, session.given_up, self._thread.unanswered)

    def _command(self, ask: ApiAsk, key: str | None) -> ApiCommand:
        """A Command with its digest, the SHA-256 of the ask as encoded on the bus.

        The digest covers blobs too: an ask with blobs names the SHA-256 of each.
        """
        digest = hashlib.sha256(self._encoder.encode(ask)).digest()
        return ApiCommand(key=key or f"auto:{self._ids.bytes().hex()}", digest=digest, ask=ask)

    def _wait(
        self, message: ApiCommand | GetStatus, timeout_s: float, blobs: Sequence[bytes] = ()
    ) -> Outcome:
        self._check_open(MAX_WAITING)
        answers: SimpleQueue[Outcome] = SimpleQueue()
        self._hand_over(message, answers.put, blobs)
        self._thread.wake()
        try:
            return answers.get(timeout=timeout_s)
        except Empty:
            return ManagerUnreachable(retry_after_s=RETRY_AFTER_S)

    def _hand_over(
        self,
        message: ApiCommand | GetStatus,
        answer: Callable[[Outcome], None],
        blobs: Sequence[bytes] = (),
    ) -> None:
        self._asked += 1
        self._thread.hand_over(Question(self._ids.bytes(), message, time.monotonic(), answer, tuple(blobs)))

    def _check_open(self, most: int) -> None:
        if self._thread.unanswered >= most:
            raise TooManyRequests("too many requests are waiting for the Manager", retry_after_s=1.0)
