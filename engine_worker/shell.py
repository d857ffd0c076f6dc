"""The socket's thread: owns the socket, the session and its deadlines, and carries out the session's actions.

It sleeps in one poller for the Manager's messages, the main thread's reports and signals. The main thread may
spend minutes in a step or an import: heartbeats go on, and a process that must leave, leaves.
"""

import hashlib
import logging
import math
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue
from signal import Signals
from threading import Thread
from typing import Final, Protocol

import zmq

from engine_worker.dealer import WorkerDealer
from engine_worker.model_files.courier import PartReply
from engine_worker.model_files.job_files import FilesReady
from engine_worker.port import ImageEncoded, Mapped, Outcome
from engine_worker.session.actions import Exit, ExitCode, Send, TakePart, Task
from engine_worker.session.events import (
    DeadlinePassed,
    Event,
    FetchEvent,
    ImageMade,
    KeyRefused,
    LoopBroke,
    MapMade,
    Opened,
    OrderArrived,
    PartRequest,
    StopAsked,
)
from engine_worker.session.machine import Session
from engine_worker.session_log import log_action, log_order
from kernel.process.dealer import DealerContext
from kernel.process.log import line
from kernel.process.wakeup import PollableQueue
from kernel.protocol import codec
from kernel.protocol.errors import BadConfiguration, BadMessage
from kernel.protocol.join import Join
from kernel.protocol.worker import EngineFailed, EngineReady

Spoken = EngineReady | EngineFailed | Outcome | FetchEvent | PartRequest | LoopBroke
"""Reports of the main thread, of an engine's postprocessing threads and of the one that copies models."""
TakeReply = Callable[[PartReply, bytes], None]
"""Takes what the Manager sent of a model."""


@dataclass(frozen=True, slots=True)
class Woken:
    """The engine asks for a step. The session neither sends nor receives this."""


Inbox = SimpleQueue[Task | Woken | FilesReady | Exit]
"""Tasks for the main thread; Exit comes last."""

CLOSE_S: Final = 1.0
"""How long the main thread gets after this thread failed."""

_log: Final = logging.getLogger(__name__)


class SignalSource(Protocol):
    """A source of signals: a descriptor to poll, and the signals that have come."""

    def fileno(self) -> int: ...

    def take_all(self) -> list[Signals]: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The thread's interfaces to clock, signals and process."""

    signals: SignalSource
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    end_process: Callable[[int], None] = os._exit


class SocketThread:
    """Runs one session over one socket. Only `start` and `report` may be called from other threads."""

    def __init__(
        self,
        join: Join,
        session: Session,
        inbox: Inbox,
        around: Surroundings,
        take_reply: TakeReply | None = None,
    ) -> None:
        """`take_reply` is for a worker that copies models."""
        self._join = join
        self._session = session
        self._inbox = inbox
        self._around = around
        self._take_reply = take_reply
        self._spoken: PollableQueue[Spoken] = PollableQueue()
        self._decoder = codec.order_decoder()
        self._poller = zmq.Poller()
        self._thread = Thread(target=self._run, name="socket", daemon=True)

    def start(self) -> None:
        """Open the socket and begin. The last item put into the inbox is an Exit."""
        self._thread.start()

    def report(self, spoken: Spoken) -> None:
        """Pass a report to the session, from any thread."""
        self._spoken.put(spoken)

    def _run(self) -> None:
        """Run the session, then make sure that the process ends, even if the main thread hangs."""
        try:
            end = self._converse()
        except BadConfiguration as error:
            end = Exit(ExitCode.BAD_TICKET, error.detail, 0.0, CLOSE_S)
            log_action(end)
        except Exception:  # noqa: BLE001 - the outermost loop of this thread
            _log.error(line("socket_thread_broke", error=traceback.format_exc()))
            end = Exit(ExitCode.BUG, "the socket thread failed", 0.0, CLOSE_S)
        self._inbox.put(end)
        self._around.sleep(end.close_s)
        _log.warning(line("ended_by_force", code=int(end.exit_code)))
        self._around.end_process(int(end.exit_code))

    def _converse(self) -> Exit:
        """Run the session from its beginning to its end; returns once the last message has left.

        Raises: BadConfiguration, if the ticket's endpoint cannot be connected to.
        """
        context: DealerContext = zmq.Context()
        with closing(WorkerDealer(context, self._join)) as dealer:
            self._poller.register(self._spoken, zmq.POLLIN)
            self._poller.register(self._around.signals, zmq.POLLIN)
            end = self._handle(dealer, Opened())
            while end is None:
                end = self._turn(dealer)
            dealer.linger(end.linger_s)
        context.term()
        return end

    def _turn(self, dealer: WorkerDealer) -> Exit | None:
        """Send what is queued, sleep until something happens, then handle all events."""
        dealer.flush()
        dealer.register(self._poller)
        self._poller.poll(self._sleep_ms())
        for event in self._happenings(dealer):
            end = self._handle(dealer, event)
            if end is not None:
                return end
        return None

    def _sleep_ms(self) -> int | None:
        deadline = self._session.next_deadline()
        if deadline is None:
            return None
        return max(0, math.ceil((deadline - self._around.clock()) * 1000))

    def _happenings(self, dealer: WorkerDealer) -> Iterator[Event]:
        """The events. The deadline comes last, so that a thread that slept too long reads the Manager's
        messages before it judges the Manager's silence."""
        for frames in dealer.receive():
            order = self._read(frames)
            if order is not None:
                yield order
        for spoken in self._spoken.take_all():
            yield _hashed(spoken)
        for _ in self._around.signals.take_all():
            yield StopAsked()
        if dealer.is_key_refused():
            yield KeyRefused()
        deadline = self._session.next_deadline()
        if deadline is not None and self._around.clock() >= deadline:
            yield DeadlinePassed()

    def _read(self, frames: list[bytes]) -> OrderArrived | None:
        try:
            received = self._decoder.decode(frames)
        except BadMessage as error:
            _log.warning(line("bad_message", code=error.code, text=error.detail))
            return None
        log_order(received.body)
        return OrderArrived(received.head.epoch, received.body, tuple(map(bytes, received.blobs)))

    def _handle(self, dealer: WorkerDealer, event: Event) -> Exit | None:
        for action in self._session.handle(event, self._around.clock()):
            log_action(action)
            match action:
                case Send():
                    blobs = () if action.blob is None else (action.blob,)
                    dealer.send(codec.encode(action.report, epoch=self._session.epoch, blobs=blobs))
                case Exit():
                    return action
                case TakePart(reply, blob):
                    if self._take_reply is not None:
                        self._take_reply(reply, blob)
                case _:
                    self._inbox.put(action)
        return None


def _hashed(spoken: Spoken) -> Event:
    """Add the digest to an image or map that the Manager will store."""
    match spoken:
        case ImageEncoded(data=data):
            return ImageMade(spoken, hashlib.sha256(data).hexdigest())
        case Mapped(data=data):
            return MapMade(spoken, hashlib.sha256(data).hexdigest())
        case _:
            return spoken
