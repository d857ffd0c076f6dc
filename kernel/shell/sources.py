"""Collects events: from the two sockets, signals, exited processes, and the file thread."""

import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, assert_never

import zmq

from kernel.core.events import (
    ApiExited,
    Event,
    InputsUnreadable,
    LaunchRan,
    LaunchWaited,
    ModelPartRead,
    ReportUnreadable,
    StopAsked,
    WorkerExited,
)
from kernel.process.log import line
from kernel.process.signals import SignalPipe
from kernel.protocol import codec
from kernel.protocol.enrollment import NotEnrolled
from kernel.protocol.errors import BadMessage, WrongVersion
from kernel.protocol.ids import WorkerId
from kernel.protocol.worker import Refuse
from kernel.shell import api_process
from kernel.shell.bus import STRANGER, Gate, Incoming, Router
from kernel.shell.decode import Arrival, BackDoor, FrontDoor, refusal
from kernel.shell.file_thread import FileThread, InputsRead, Removed
from kernel.shell.model_parts import PartRead
from kernel.shell.ports import Exited, Launcher, LaunchRuns, LaunchWaits
from kernel.shell.worker_registry import WorkerRegistry

BATCH_MESSAGES: Final = 32
BATCH_S: Final = 0.002
CALM_MESSAGES: Final = 2
"""A larger batch shows that other processes are busy and need the CPU."""
AWAKE_NS: Final = 300_000
"""An idle worker answers within 200 us (adr/0033)."""

log = logging.getLogger("manager")


@dataclass(slots=True)
class Sources:
    """Waits for the first event, then takes all that are there, up to a batch."""

    front: Router
    back: Router
    gate: Gate
    registry: WorkerRegistry
    launcher: Launcher
    files: FileThread
    signals: SignalPipe
    front_door: FrontDoor
    back_door: BackDoor
    batch_messages: int = BATCH_MESSAGES
    removals: list[Removed] = field(default_factory=list)
    """Files that the file thread has removed, for the trash."""
    readings: list[InputsRead | InputsUnreadable] = field(default_factory=list)
    """Input images that the file thread has read for workers, or could not read."""
    _parts: list[Arrival] = field(default_factory=list)
    """Parts of models that were read for workers."""
    is_drained: bool = True
    """False while messages are left that came before the last call of `wait`."""
    _is_calm: bool = False
    _poller: zmq.Poller = field(default_factory=zmq.Poller)

    def open(self) -> None:
        """Start watching."""
        sockets = (self.front.socket, self.back.socket, self.gate.socket)
        for source in (*sockets, self.files, self.signals, self.launcher):
            self._poller.register(source, zmq.POLLIN)

    def wait(self, timeout_s: float | None) -> list[Arrival]:
        """All events that have come, after waiting for the first. Units: seconds; None: for ever."""
        self.is_drained = True
        timeout_ms = None if timeout_s is None else max(0, int(timeout_s * 1000 + 0.999))
        ready = {source for source, _ in self._look_out(timeout_ms)}
        if self.gate.socket in ready:
            self.gate.answer()
        arrivals: list[Arrival] = []
        if self.signals.fileno() in ready:
            arrivals += map(Arrival, self._take_signals())
        elif self.launcher.fileno() in ready:
            arrivals += map(Arrival, self._take_launches())
        if self.files.fileno() in ready:
            arrivals += map(Arrival, self._take_files())
        if self.front.socket in ready or self.back.socket in ready:
            self._drain(arrivals)
        if self._parts:
            arrivals += self._parts  # behind the orders that follow from the rest
            self._parts = []
        self._is_calm = 0 < len(arrivals) <= CALM_MESSAGES
        return arrivals

    def _look_out(self, timeout_ms: int | None) -> list[tuple[object, int]]:
        """The ready sources. After a small batch the next message is often on its way, so the thread polls
        for a while without sleeping, because waking up takes as long (adr/0027)."""
        end_ns = time.monotonic_ns() + AWAKE_NS if self._is_calm else 0
        while time.monotonic_ns() < end_ns:
            if found := self._poller.poll(0):
                return found
            os.sched_yield()
        self._is_calm = False
        return self._poller.poll(timeout_ms)

    def _take_signals(self) -> list[Event]:
        events: list[Event] = []
        for number in self.signals.take_all():
            if number is not signal.SIGCHLD:
                log.info(line("signal", number=number.name))
                events.append(StopAsked())
        return events + self._take_launches()

    def _take_launches(self) -> list[Event]:
        events: list[Event] = []
        for news in self.launcher.poll():
            match news:
                case LaunchWaits(name, reason):
                    log.info(line("launch_waits", name=name, reason=reason))
                    events.append(LaunchWaited(WorkerId(name), reason))
                case LaunchRuns(name):
                    log.info(line("launch_runs", name=name))
                    events.append(LaunchRan(WorkerId(name)))
                case Exited(name, status, last_words, exit_code):
                    log.info(line("process_exited", name=name, status=status))
                    if name == api_process.NAME:
                        events.append(ApiExited(status, exit_code))
                    else:
                        events.append(WorkerExited(WorkerId(name), status, last_words))
                case _:
                    assert_never(news)
        return events

    def _take_files(self) -> list[Event]:
        events: list[Event] = []
        for outcome in self.files.take_outcomes():
            if isinstance(outcome, Removed):
                self.removals.append(outcome)
            elif isinstance(outcome, InputsRead | InputsUnreadable):
                self.readings.append(outcome)
            elif isinstance(outcome, PartRead):
                self._parts.append(Arrival(ModelPartRead(outcome.part), (outcome.data,)))
            else:
                events.append(outcome)
        return events

    def _drain(self, arrivals: list[Arrival]) -> None:
        """Read the sockets in turn until both are empty or the batch is full."""
        end_s = time.monotonic() + BATCH_S
        unanswered: Counter[bytes] = Counter()
        taken, went_dry = 0, 0
        turns: list[Callable[[], bool]] = [
            lambda: self._take_front(arrivals, unanswered),
            lambda: self._take_back(arrivals),
        ]
        while went_dry < len(turns) and taken < self.batch_messages and time.monotonic() < end_s:
            went_dry = 0
            for take in turns:
                if take():
                    taken += 1
                else:
                    went_dry += 1
        self.is_drained = went_dry == len(turns)

    def _take_front(self, arrivals: list[Arrival], unanswered: Counter[bytes]) -> bool:
        if (incoming := self.front.receive()) is None:
            return False
        try:
            arrivals.append(self.front_door.read(incoming, unanswered))
        except BadMessage as error:
            log.warning(line("bad_message", name=incoming.name, detail=error.detail))
            correlation, answer = refusal(incoming, error)
            self.front.send(incoming.peer, codec.encode(answer, correlation, self.front_door.epoch))
        return True

    def _take_back(self, arrivals: list[Arrival]) -> bool:
        if (incoming := self.back.receive()) is None:
            return False
        worker_id = self.registry.named(incoming.name)
        if worker_id is None:
            self._take_stranger(arrivals, incoming)
            return True
        role = self.registry.role(worker_id)
        self.registry.seen(worker_id, incoming.peer)
        try:
            arrivals.append(self.back_door.read(incoming, role, worker_id))
        except BadMessage as error:
            log.warning(line("bad_message", worker_id=worker_id, detail=error.detail))
            if isinstance(error, WrongVersion):
                self.registry.send(worker_id, Refuse(code=error.code, text=error.detail))
            else:
                arrivals.append(Arrival(ReportUnreadable(worker_id, error.detail)))
        return True

    def _take_stranger(self, arrivals: list[Arrival], incoming: Incoming) -> None:
        """A stranger may enroll; whatever else it says is answered by that it must."""
        if not incoming.name.startswith(STRANGER):
            return  # its key was revoked while the message was on its way
        try:
            arrivals.append(self.back_door.read_stranger(incoming))
        except BadMessage as error:
            told = error if isinstance(error, WrongVersion) else NotEnrolled()
            self.registry.refuse(incoming.peer, Refuse(code=told.code, text=told.detail))
