"""The listening socket: accepts connections up to a limit, and closes idle ones when it is reached.

Anybody can open thousands of connections and send nothing, so connections are limited in total and per
address (adr/0037). A full server does not refuse the newest connection, which would let silent ones lock out
everybody else: it closes those that have waited longest without a request, from the address with the most
connections (`connection_limits.py` decides, this file carries it out). Choosing takes a look at all
connections, so several are closed at once. If all are busy, a short 503 is sent without a thread. Errors of
one connection must not reach the loop: the listening socket serves all. If the system has no descriptors
left, accepting pauses, because the loop would otherwise spin on the same error.
"""

import logging
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from errno import EAGAIN, ECONNABORTED, EINTR
from heapq import heapify, heappop, heappush
from typing import Final

import msgspec
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from api.http.contract.errors import TooManyConnections
from api.http.contract.problems import CONTENT_TYPE, problem_of
from api.http.framework.channels import Channel
from api.http.framework.connection_limits import Capacity, Crowd, Deadlines, due_at, origin_of, whom_to_shed
from api.http.framework.deferral import Deferral, NoDeferral, Wait
from api.http.framework.loop import Sockets
from api.http.framework.response_tasks import Served
from api.http.framework.threads import Threads
from kernel.process.log import line

ACCEPTED_AT_ONCE: Final = 16
"""Few enough that the first of them is not closed in favor of the last."""
SHED_SHARE: Final = 8
"""One in this many is closed at once when the server is full, because choosing takes a look at all of
them."""
PAUSE_S: Final = 0.5
"""How long accepting pauses after the system has refused a connection."""
LOOK_EVERY_S: Final = 1.0
"""How often connections with short deadlines, or that wait for a thread, are checked."""
LOOK_AT_LEAST_EVERY_S: Final = 5.0
TELL_EVERY_S: Final = 10.0
FEW_RINGS: Final = 64
"""Rings that are over are looked for when there are more than these beside two for each connection."""

Observe = Callable[[Served], None]

_log: Final = logging.getLogger("spoon.api.http")


class Now(threading.local):
    """The connection that the current thread works for."""

    channel: Channel | None = None


class Ring(msgspec.Struct, frozen=True, gc=False):
    """When to ring what a connection waits for, unless it has gone on or has left."""

    at_s: float
    channel: Channel
    wait: Wait

    @property
    def is_over(self) -> bool:
        return self.channel.wait is not self.wait or not self.channel.connected

    def __lt__(self, other: "Ring") -> bool:
        return self.at_s < other.at_s


class Told:
    """Logs the same message at intervals, with how often it has occurred since."""

    def __init__(self) -> None:
        self._count = 0
        self._told_at = float("-inf")

    def tell(self, now: float, say: Callable[[int], None]) -> None:
        self._count += 1
        if now - self._told_at >= TELL_EVERY_S:
            say(self._count)
            self._count, self._told_at = 0, now


class Listener(TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    """waitress' server with limits for all connections together. Its loop calls `turn`."""

    accepting: bool
    active_channels: dict[int, Channel]

    def __init__(
        self,
        app: object,
        listening: socket.socket,
        threads: Threads,
        options: Adjustments,
        bounds: tuple[Capacity, Deadlines],
        deferral: Deferral | None = None,
    ) -> None:
        self.observe: Observe = lambda served: None
        """Called by any thread with each response."""
        self.deferral = deferral or NoDeferral()
        self.crowd = Crowd()
        self.threads = threads
        self.capacity, self.deadlines = bounds
        self._now = Now()
        self._is_woken = self.is_over = False
        self._shed_at = float("-inf")
        self._resume_at: float | None = None
        self._look_at = float("inf")
        self._answered: deque[Channel] = deque()
        self._newly_parked: deque[Channel] = deque()
        self._parked: list[Ring] = []
        """A heap, the soonest first."""
        self._failures, self._refusals, self._sheddings = Told(), Told(), Told()
        self.sockets = Sockets()
        described = (listening.family, listening.type, listening.proto, listening.getsockname())
        super().__init__(
            app, self.sockets, True, listening, dispatcher=threads, adj=options, bind_socket=False,
            sockinfo=described,
        )  # fmt: skip

    def turn(self, timeout_s: float) -> None:
        """Wait until something happens, at most `timeout_s`, and handle it."""
        now = time.monotonic()
        wake_at = min(self._look_at, self._ring_at, self._resume_at or float("inf"))
        self.sockets.wait(max(0.0, min(timeout_s, wake_at - now)))
        self.deferral.flush()
        self._is_woken = False  # from here on a thread that changes something wakes the loop again
        self._complete()
        now = time.monotonic()
        if self._resume_at is not None and now >= self._resume_at:
            self._resume_at = None
            self.sockets.changed(self)
        self.sockets.review()
        if self._newly_parked or now >= self._ring_at:
            self._ring(now)
        if now >= self._look_at or (self.active_channels and self._look_at == float("inf")):
            self._look(now)

    def go_on(self, channel: Channel) -> None:
        """Have the loop complete the request of a connection that it began. Called by any thread."""
        self._answered.append(channel)
        self._wake()

    def _complete(self) -> None:
        """Respond where the Manager has answered. In this thread, because what comes together is sent
        together: each system call gives the interpreter's lock away, and the others wait for it."""
        while self._answered:
            try:
                self._answered.popleft().service()
            except Exception:  # noqa: BLE001  this thread serves all connections
                _log.exception(line("service_failed"))
        self._now.channel = None

    def park(self, channel: Channel) -> None:
        """Have its wait rung when the time is over, and notice if the client leaves. Called by any thread."""
        self._newly_parked.append(channel)
        self.look_at(channel)

    @property
    def _ring_at(self) -> float:
        return self._parked[0].at_s if self._parked else float("inf")

    def _ring(self, now: float) -> None:
        """Ring the waits whose time is over. That of a stream moves on with each part that it sends."""
        while self._newly_parked:
            self._watch(self._newly_parked.popleft())
        while self._ring_at <= now:
            due = heappop(self._parked)
            if not due.is_over and due.wait.until_s <= now:
                due.wait.bell.ring()
                heappush(self._parked, Ring(now + LOOK_EVERY_S, due.channel, due.wait))  # a stream goes on
            elif not due.is_over:
                heappush(self._parked, Ring(due.wait.until_s, due.channel, due.wait))

    def _watch(self, channel: Channel) -> None:
        if (wait := channel.wait) is None:
            return
        heappush(self._parked, Ring(wait.until_s, channel, wait))
        if len(self._parked) > 2 * len(self.active_channels) + FEW_RINGS:
            self._parked = [one for one in self._parked if not one.is_over]
            heapify(self._parked)

    def add_task(self, task: Channel) -> None:
        """Have the request of a connection answered."""
        task.began_s = time.perf_counter()
        if not task.begin():
            self.threads.add_task(task)
        elif self._now.channel is not None:  # another request of a connection that has just been answered
            self.deferral.flush()

    def serving(self, channel: Channel) -> None:
        """The current thread works for this connection from now on."""
        self._now.channel = channel

    def pull_trigger(self, thunk: Callable[[], None] | None = None) -> None:
        """The connection of the current thread has changed: wake the loop, once.

        Mostly its response has left, and the loop watches for its next request already: then it may sleep.
        """
        channel = self._now.channel
        if channel is None:
            self._wake(thunk)
        elif not self.sockets.is_watched_for(channel):
            self.look_at(channel)

    def look_at(self, channel: Channel) -> None:
        """Have the loop check which events this connection wants. Called by any thread."""
        self.sockets.changed(channel)
        self._wake()

    def _wake(self, thunk: Callable[[], None] | None = None) -> None:
        if not self._is_woken and not self.is_over:
            self._is_woken = True
            self.trigger.pull_trigger(thunk)

    def readable(self) -> bool:
        return self.accepting and self._resume_at is None

    def handle_accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                connection, address = self.socket.accept()
            except OSError as error:
                if error.errno not in (EAGAIN, ECONNABORTED, EINTR):
                    self._pause(error)
                return
            self._take_in(connection, address)

    def handle_error(self) -> None:
        """Handle an unexpected error of one connection, and keep the listening socket open."""
        _log.exception(line("accept_broke"))
        self._resume_at = time.monotonic() + PAUSE_S

    def _take_in(self, connection: socket.socket, address: tuple[str, int]) -> None:
        now = time.monotonic()
        if not self._can_accept(origin_of(address[0]), now):
            self._refuse(connection, now)
            return
        try:
            self.set_socket_options(connection)
            self.channel_class(self, connection, address, self.adj, self.sockets)
        except OSError:  # it has gone already, or the system cannot watch another one
            connection.close()

    def _can_accept(self, origin: str, now: float) -> bool:
        """True if another connection is allowed, perhaps because others were closed."""
        if self.crowd.total >= self.capacity.total:
            self._shed(self.capacity.total // SHED_SHARE, now)
        elif self.crowd.of(origin) >= self.capacity.per_address:
            self._shed(self.capacity.per_address // SHED_SHARE, now, origin)
        return self.crowd.total < self.capacity.total and self.crowd.of(origin) < self.capacity.per_address

    def _shed(self, count: int, now: float, origin: str | None = None) -> None:
        if now < self._shed_at:
            return
        standings = {
            channel: channel.standing(now)
            for channel in self.active_channels.values()
            if origin in (None, channel.origin)
        }
        goers = whom_to_shed(standings, max(1, count), now)
        if not goers:
            self._shed_at = now + PAUSE_S
        for channel in goers:
            channel.handle_close()
            self._sheddings.tell(now, lambda times: _log.warning(line("shed_connections", count=times)))

    def _refuse(self, connection: socket.socket, now: float) -> None:
        """All connections are busy: respond, as far as that is possible at once."""
        self._refusals.tell(now, lambda times: _log.warning(line("refuse_connections", count=times)))
        with connection:
            connection.setblocking(False)
            try:
                connection.send(_too_many_connections())
            except OSError:
                return  # it has gone, or cannot take a kilobyte: it will see the end

    def _pause(self, error: OSError) -> None:
        """The system has no descriptor or memory for another connection: close some, and try again in a
        moment."""
        now = time.monotonic()
        reason = error.strerror
        self._failures.tell(now, lambda times: _log.warning(line("accept_failed", error=reason, count=times)))
        self._resume_at = now + PAUSE_S
        self._shed(len(self.active_channels) // SHED_SHARE, now)

    def _look(self, now: float) -> None:
        """Close connections that have timed out."""
        self.threads.refuse_waiting()
        soonest = now + LOOK_AT_LEAST_EVERY_S
        for channel in list(self.active_channels.values()):
            due = due_at(channel.standing(now), self.deadlines)
            if due is not None and due <= now:
                channel.give_up()
            elif due is not None:
                soonest = min(soonest, due)
        if self.threads.is_crowded:
            soonest = now
        self._look_at = max(soonest, now + LOOK_EVERY_S) if self.active_channels else float("inf")


def _too_many_connections() -> bytes:
    """The response for a connection that is refused at once."""
    problem = msgspec.json.encode(problem_of(TooManyConnections(), secrets.token_hex(8)))
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
        f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {len(problem)}\r\n\r\n"
    )
    return head.encode() + problem
