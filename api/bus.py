"""The bus as the request threads see it: ask, and wait for the answer."""

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
from kernel.protocol.client import ApiAsk, ApiCommand, GetStatus, Status
from kernel.protocol.errors import ManagerUnreachable, TooManyRequests
from kernel.protocol.uuid7 import Uuid7

MAX_WAITING: Final = 1_024
"""Questions that may be open in this process, before more are refused."""
MAX_LATER: Final = 512
"""Questions that may be open when one more is asked that no thread waits for."""
SILENCE_S: Final = 2.0
"""A commit takes milliseconds, a busy disk hundreds of them."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Counters since the start, and the questions that are open now."""

    asked: int
    resent: int
    given_up: int
    unanswered: int


class Bus:
    """The way to the Manager, for all threads of this process."""

    def __init__(self, bus_folder: Path, hub: Hub, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._line = BusThread(bus_folder, hub, self._patience)
        self._ids = Uuid7()
        self._encoder = msgspec.msgpack.Encoder()
        self._asked = 0

    def open(self) -> None:
        """Connect, and begin to watch.

        Raises: BadConfiguration, if the keys cannot be read.
        """
        self._line.open()

    def close(self) -> None:
        """Wait a little for the answers that are still out, refuse the rest, hang up."""
        self._line.close()

    def ask(
        self, ask: ApiAsk, expected: type[Answer], key: str | None = None, blobs: Sequence[bytes] = ()
    ) -> Answer:
        """Have something done once, and wait for the answer; see `BusPort.ask`."""
        timeout_s = self._patience.give_up_after_s + RETRY_AFTER_S
        outcome = self._wait(self._command(ask, key), timeout_s, blobs)
        return answer_in(outcome, expected)

    def ask_later(self, ask: ApiAsk, key: str | None, then: Callable[[Outcome], None]) -> None:
        """Have something done once, and be told; see `BusPort.ask_later`."""
        if self.is_silent:
            raise ManagerUnreachable(retry_after_s=RETRY_AFTER_S)
        self._check_room(MAX_LATER)
        self._hand_over(self._command(ask, key), then)

    def tell(self, ask: ApiAsk) -> None:
        """Have something done once, and do not wait; see `BusPort.tell`."""
        self._hand_over(self._command(ask, None), lambda outcome: None)

    def status(self, timeout_s: float) -> Status:
        """How the Manager is; see `BusPort.status`."""
        return answer_in(self._wait(GetStatus(), timeout_s), Status)

    @property
    def is_silent(self) -> bool:
        """True, when the Manager has been asked and has said nothing for longer than it ever thinks."""
        return self._line.session.silence_s(time.monotonic()) > SILENCE_S

    def figures(self) -> Figures:
        """What the metrics show; read without a lock, so about right."""
        session = self._line.session
        return Figures(self._asked, session.resent, session.given_up, self._line.unanswered)

    def _command(self, ask: ApiAsk, key: str | None) -> ApiCommand:
        """A Command; its digest is the SHA-256 of the ask as it is encoded on the bus.

        What blobs hold is part of it: an ask with blobs names the SHA-256 of each.
        """
        digest = hashlib.sha256(self._encoder.encode(ask)).digest()
        return ApiCommand(key=key or f"auto:{self._ids.bytes().hex()}", digest=digest, ask=ask)

    def _wait(
        self, message: ApiCommand | GetStatus, timeout_s: float, blobs: Sequence[bytes] = ()
    ) -> Outcome:
        self._check_room(MAX_WAITING)
        answers: SimpleQueue[Outcome] = SimpleQueue()
        self._hand_over(message, answers.put, blobs)
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
        self._line.hand_over(Question(self._ids.bytes(), message, time.monotonic(), answer, tuple(blobs)))

    def _check_room(self, most: int) -> None:
        if self._line.unanswered >= most:
            raise TooManyRequests("too many requests are waiting for the Manager", retry_after_s=1.0)
