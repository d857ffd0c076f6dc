"""The thread that owns the socket to the Manager: sleeps until there is something to send or receive.

ZeroMQ sockets belong to one thread, and a request thread must not poll. So request threads put questions into
an inbox and wait on their own; this thread alone sends, receives, resends and reconnects, as `api/session.py`
decides. One wake-up serves all questions that come while it is awake, because under load each wake-up is a
switch of the interpreter's lock. The connection can fail silently: the Manager may be restarted with new
keys, so after a silence this thread reads the keys again and reconnects. An unexpected error in one round is
logged and followed by a pause, because without this thread the process is of no use.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Final

import zmq

from api.hub import Hub
from api.session import Patience, Question, Session
from kernel.process.dealer import Dealer, DealerContext, DealerOptions
from kernel.process.keys import open_front
from kernel.process.log import line
from kernel.process.wakeup import Wakeup
from kernel.protocol.codec import Frame, reply_decoder, unbundled
from kernel.protocol.endpoints import ClientRole
from kernel.protocol.errors import BadConfiguration, BadMessage, ShuttingDown

MAX_BATCH: Final = 256
"""Messages received before questions are sent."""
FAREWELL_S: Final = 2.0
"""How long `close` waits for pending replies."""
RECOVERY_S: Final = 1.0
"""The pause after an unexpected error."""
OPTIONS: Final = DealerOptions(
    high_water_mark=10_000,  # far above the window of 64 commands, because of a busy Manager's changes
    is_immediate=True,  # without a Manager a send fails, and is tried again later
    reconnect_ms=(50, 1_000),
    watched=zmq.EVENT_HANDSHAKE_SUCCEEDED,  # the connection has been established, for the first time or again
)

_log = logging.getLogger("spoon.api.bus")


class BusThread:
    """Sends the requests that other threads hand over, and delivers replies and news."""

    def __init__(self, bus_folder: Path, hub: Hub, patience: Patience) -> None:
        self.session = Session(time.monotonic(), patience)
        self._folder = bus_folder
        self._hub = hub
        self._decoder = reply_decoder()
        self._inbox: deque[Question] = deque()
        self._is_asleep = False
        self._closing = threading.Event()
        self._is_over = False
        """Set when requests are taken no more; from then on the thread that brings one refuses it."""
        self._wakeup = Wakeup()
        self._context: DealerContext = zmq.Context()
        self._poller = zmq.Poller()
        self._thread = threading.Thread(target=self._run, name="bus", daemon=True)

    def open(self) -> None:
        """Connect, and subscribe to changes.

        Raises: BadConfiguration, if the keys cannot be read.
        """
        try:
            self._dealer = self._dial()
        except BadConfiguration:
            self._context.term()
            self._wakeup.close()
            raise
        self._poller.register(self._wakeup.fileno(), zmq.POLLIN)
        self._thread.start()

    def close(self) -> None:
        """Wait a little for pending replies, refuse the other requests, disconnect."""
        self._closing.set()
        self._wakeup.ring()
        self._thread.join()
        self._dealer.close()
        self._context.term()  # the wake-up stays open: a late thread may still be about to write to it

    @property
    def unanswered(self) -> int:
        """The approximate number of open requests: other threads change it meanwhile."""
        return len(self._inbox) + self.session.unanswered

    def hand_over(self, question: Question) -> None:
        """Add a request, which leaves with `wake` at the latest. Called by any thread."""
        if self._closing.is_set():
            question.answer(ShuttingDown())
            return
        self._inbox.append(question)
        if self._is_over:  # closed meanwhile: requests added behind its back are refused here
            self._refuse_rest()

    def wake(self) -> None:
        """Have what was handed over leave. Called by any thread; has no effect while the bus thread is
        awake, because it will see what there is."""
        if self._inbox and self._is_asleep:
            self._is_asleep = False
            self._wakeup.ring()

    def _refuse_rest(self) -> None:
        """Refuse late requests; the bus thread and late request threads may do it at the same time."""
        with suppress(IndexError):
            while True:
                self._inbox.popleft().answer(ShuttingDown())

    # From here on: called by the bus thread only.

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._take_turn()
            except Exception:  # noqa: BLE001  the outermost loop: this thread outlives every surprise
                _log.exception(line("bus_turn_failed"))
                self._closing.wait(RECOVERY_S)
        try:
            self._say_farewell()
        except Exception:  # noqa: BLE001  the outermost loop, its last round
            _log.exception(line("bus_farewell_failed"))
        finally:
            self._is_over = True
            self._refuse_rest()
            self.session.give_up(ShuttingDown())

    def _say_farewell(self) -> None:
        until = time.monotonic() + FAREWELL_S
        while (self._inbox or not self.session.is_idle) and time.monotonic() < until:
            self._take_turn(until)

    def _take_turn(self, until: float | None = None) -> None:
        """Send due messages, sleep until something happens (at most `until`), receive messages."""
        now = time.monotonic()
        self._take_questions()
        if self.session.is_deaf(now):
            self._redial(now)
        for frames in self.session.outgoing(now):
            if not self._dealer.send(frames):
                break
        deadline = self.session.next_deadline()
        ready = self._sleep(deadline if until is None else min(deadline, until))
        if self._dealer.monitor in ready and self._dealer.has_happened():
            self.session.reconnected(time.monotonic())
        self._hear()

    def _take_questions(self) -> None:
        while self._inbox:
            self.session.ask(self._inbox.popleft())

    def _sleep(self, deadline: float) -> list[object]:
        timeout_ms = ceil(max(0.0, deadline - time.monotonic()) * 1_000)
        self._is_asleep = True
        if self._inbox:  # handed over before the flag was set: there will be no wake-up for it
            timeout_ms = 0
        ready = [one for one, _ in self._poller.poll(timeout_ms)]
        self._is_asleep = False
        self._wakeup.silence()
        return ready

    def _hear(self) -> None:
        now = time.monotonic()
        for frames in self._dealer.received(MAX_BATCH):
            self._hear_one(frames, now)

    def _hear_one(self, frames: Sequence[Frame], now: float) -> None:
        try:
            received = self._decoder.decode(frames)
        except BadMessage as error:
            _log.warning(line("drop_message", code=error.code, detail=error.detail))
            return
        for one in unbundled(received):
            heard = self.session.hear(one, now)
            if heard.is_new_epoch:
                self._hub.restart()
            if heard.news is not None:
                self._hub.publish(heard.news)

    def _dial(self) -> Dealer:
        """Raises: BadConfiguration, if the keys are missing or damaged."""
        try:
            dealer = open_front(self._context, self._folder, ClientRole.API, OPTIONS)
        except OSError as error:
            raise BadConfiguration(
                f"cannot read the keys in {self._folder}: is the Manager running? ({error})"
            ) from error
        for socket in (dealer.socket, dealer.monitor):
            self._poller.register(socket, zmq.POLLIN)
        return dealer

    def _redial(self, now: float) -> None:
        """Reconnect with the keys that are in the folder now: the Manager may have new ones."""
        self.session.redialled(now)
        try:
            fresh = self._dial()
        except BadConfiguration as error:
            _log.warning(line("redial_failed", detail=error.detail))
            return
        for socket in (self._dealer.socket, self._dealer.monitor):
            self._poller.unregister(socket)
        self._dealer.close()
        self._dealer = fresh
