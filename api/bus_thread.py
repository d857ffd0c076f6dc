"""The thread that owns the socket to the Manager: it sleeps until there is something to send or to hear."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Final

import zmq

from api.dealer import Dealer
from api.hub import Hub
from api.session import Patience, Question, Session
from kernel.protocol.codec import Frame, reply_decoder, unbundled
from kernel.protocol.errors import BadConfiguration, BadMessage, ShuttingDown

MAX_BATCH: Final = 256
"""Messages read before the questions get their turn."""
FAREWELL_S: Final = 2.0
"""How long the end waits for the answers that are still out."""
RECOVERY_S: Final = 1.0
"""The pause after an error that nobody foresaw."""

_log = logging.getLogger("spoon.api.bus")


class BusThread:
    """Sends the questions that other threads hand over, and brings the answers and the news."""

    def __init__(self, bus_folder: Path, hub: Hub, patience: Patience) -> None:
        self.session = Session(time.monotonic(), patience)
        self._folder = bus_folder
        self._hub = hub
        self._decoder = reply_decoder()
        self._inbox: deque[Question] = deque()
        self._is_asleep = False
        self._closing = threading.Event()
        self._is_over = False
        """Set when nobody takes questions any more; from then on who brings one refuses it himself."""
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._thread = threading.Thread(target=self._run, name="bus", daemon=True)

    def open(self) -> None:
        """Connect, and begin to watch.

        Raises: BadConfiguration, if the keys cannot be read.
        """
        try:
            self._dealer = self._dial()
        except BadConfiguration:
            self._context.term()
            os.close(self._wake_fd)
            raise
        self._poller.register(self._wake_fd, zmq.POLLIN)
        self._thread.start()

    def close(self) -> None:
        """Wait a little for the answers that are still out, refuse the rest, hang up."""
        self._closing.set()
        os.eventfd_write(self._wake_fd, 1)
        self._thread.join()
        self._dealer.close()
        self._context.term()  # the eventfd stays open: a late asker may still be about to write to it

    @property
    def unanswered(self) -> int:
        """How many questions are open, about: other threads are at work on both."""
        return len(self._inbox) + self.session.unanswered

    def hand_over(self, question: Question) -> None:
        """Called by any thread. One wake-up serves all questions that come while the line is awake."""
        if self._closing.is_set():
            question.answer(ShuttingDown())
            return
        self._inbox.append(question)
        if self._is_over:  # it was closed since: what was brought behind its back is refused here
            self._refuse_rest()
        elif self._is_asleep:
            self._is_asleep = False
            os.eventfd_write(self._wake_fd, 1)

    def _refuse_rest(self) -> None:
        """Answer what came too late; the line's thread and late askers may do it side by side."""
        with suppress(IndexError):
            while True:
                self._inbox.popleft().answer(ShuttingDown())

    # From here on: the thread of the line alone.

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._take_turn()
            except Exception:  # noqa: BLE001  the outermost loop: this thread outlives every surprise
                _log.exception("action=bus_turn_failed")
                self._closing.wait(RECOVERY_S)
        try:
            self._say_farewell()
        except Exception:  # noqa: BLE001  the outermost loop, its last round
            _log.exception("action=bus_farewell_failed")
        finally:
            self._is_over = True
            self._refuse_rest()
            self.session.give_up(ShuttingDown())

    def _say_farewell(self) -> None:
        until = time.monotonic() + FAREWELL_S
        while (self._inbox or not self.session.is_idle) and time.monotonic() < until:
            self._take_turn(until)

    def _take_turn(self, until: float | None = None) -> None:
        """Send what is due, sleep until something happens (at most `until`), hear what came."""
        now = time.monotonic()
        self._take_questions()
        if self.session.is_deaf(now):
            self._redial(now)
        for frames in self.session.outgoing(now):
            if not self._dealer.send(frames):
                break
        deadline = self.session.next_deadline()
        ready = self._sleep(deadline if until is None else min(deadline, until))
        if self._dealer.line in ready and self._dealer.is_reconnected():
            self.session.reconnected(time.monotonic())
        self._hear()

    def _take_questions(self) -> None:
        while self._inbox:
            self.session.ask(self._inbox.popleft())

    def _sleep(self, deadline: float) -> list[object]:
        timeout_ms = ceil(max(0.0, deadline - time.monotonic()) * 1_000)
        self._is_asleep = True
        if self._inbox:  # handed over before the flag was up: nobody will wake us for it
            timeout_ms = 0
        ready = [one for one, _ in self._poller.poll(timeout_ms)]
        self._is_asleep = False
        if self._wake_fd in ready:
            os.eventfd_read(self._wake_fd)
        return ready

    def _hear(self) -> None:
        now = time.monotonic()
        for frames in self._dealer.received(MAX_BATCH):
            self._hear_one(frames, now)

    def _hear_one(self, frames: Sequence[Frame], now: float) -> None:
        try:
            received = self._decoder.decode(frames)
        except BadMessage as error:
            _log.warning("action=drop_message code=%s detail=%r", error.code, error.detail)
            return
        for one in unbundled(received):
            heard = self.session.hear(one, now)
            if heard.is_new_epoch:
                self._hub.restart()
            if heard.news is not None:
                self._hub.publish(heard.news)

    def _dial(self) -> Dealer:
        dealer = Dealer(self._context, self._folder)
        self._poller.register(dealer.socket, zmq.POLLIN)
        self._poller.register(dealer.line, zmq.POLLIN)
        return dealer

    def _redial(self, now: float) -> None:
        """The Manager may have new keys: hang up, and connect with what lies in its folder now."""
        self.session.redialled(now)
        try:
            fresh = self._dial()
        except BadConfiguration as error:
            _log.warning("action=redial_failed detail=%r", error.detail)
            return
        self._poller.unregister(self._dealer.socket)
        self._poller.unregister(self._dealer.line)
        self._dealer.close()
        self._dealer = fresh
