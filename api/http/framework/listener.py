"""The listening socket: takes connections in while there is room, and makes room when there is none."""

import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from errno import EAGAIN, ECONNABORTED, EINTR
from typing import Final

import msgspec
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from api.http.contract.errors import TooManyConnections
from api.http.contract.problems import CONTENT_TYPE, problem_of
from api.http.framework.channels import Channel
from api.http.framework.connection_limits import Capacity, Crowd, Deadlines, due_at, origin_of, whom_to_shed
from api.http.framework.deferral import Begin, never
from api.http.framework.loop import Sockets
from api.http.framework.threads import Threads
from kernel.process.log import line

ACCEPTED_AT_ONCE: Final = 16
"""Few enough that whoever comes first of them is not shed for the last."""
SHED_SHARE: Final = 8
"""One in so many goes at once when there is no room: to choose costs a look at all of them."""
PAUSE_S: Final = 0.5
"""For so long nobody is accepted after the system has refused to."""
LOOK_EVERY_S: Final = 1.0
"""How often connections are looked at whose time is short, or who wait for a thread."""
LOOK_AT_LEAST_EVERY_S: Final = 5.0
TELL_EVERY_S: Final = 10.0

_log: Final = logging.getLogger("spoon.api.http")


class Now(threading.local):
    """The connection that the present thread works for."""

    channel: Channel | None = None


class Told:
    """Says the same thing once in a while, with how often it has happened since."""

    def __init__(self) -> None:
        self._count = 0
        self._told_at = float("-inf")

    def tell(self, now: float, say: Callable[[int], None]) -> None:
        self._count += 1
        if now - self._told_at >= TELL_EVERY_S:
            say(self._count)
            self._count, self._told_at = 0, now


class Listener(TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    """waitress' server with bounds for all connections together. Its loop is `turn`."""

    accepting: bool
    active_channels: dict[int, Channel]

    def __init__(
        self,
        app: object,
        listening: socket.socket,
        threads: Threads,
        options: Adjustments,
        bounds: tuple[Capacity, Deadlines],
        begins: Begin = never,
    ) -> None:
        self.begins = begins
        self.crowd = Crowd()
        self.threads = threads
        self.capacity, self.deadlines = bounds
        self._now = Now()
        self._is_woken = self.is_over = False
        self._shed_at = float("-inf")
        self._resume_at: float | None = None
        self._look_at = float("inf")
        self._failures, self._refusals, self._sheddings = Told(), Told(), Told()
        self.sockets = Sockets()
        described = (listening.family, listening.type, listening.proto, listening.getsockname())
        super().__init__(
            app, self.sockets, True, listening, dispatcher=threads, adj=options, bind_socket=False,
            sockinfo=described,
        )  # fmt: skip

    def turn(self, timeout_s: float) -> None:
        """Wait until something happens, at most so long, and handle it."""
        now = time.monotonic()
        wake_at = min(self._look_at, self._resume_at or float("inf"))
        self.sockets.wait(max(0.0, min(timeout_s, wake_at - now)))
        self._is_woken = False  # from here on who changes something wakes the loop again
        now = time.monotonic()
        if self._resume_at is not None and now >= self._resume_at:
            self._resume_at = None
            self.sockets.changed(self)
        self.sockets.review()
        if now >= self._look_at or (self.active_channels and self._look_at == float("inf")):
            self._look(now)

    def add_task(self, task: Channel) -> None:
        """Have the request of a connection answered."""
        if not task.begin():
            self.threads.add_task(task)

    def serving(self, channel: Channel) -> None:
        """The present thread works for this connection from now on."""
        self._now.channel = channel

    def pull_trigger(self, thunk: Callable[[], None] | None = None) -> None:
        """Something is new with the connection that the present thread works for: wake the loop, once.

        Mostly its answer has left, and the loop watches for its next request already: then it may sleep.
        """
        channel = self._now.channel
        if channel is None:
            self._wake(thunk)
        elif not self.sockets.is_watched_for(channel):
            self.look_at(channel)

    def look_at(self, channel: Channel) -> None:
        """Have the loop ask what this connection wants, whoever says so. Called by any thread."""
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
        """Whatever went wrong with one connection: the socket that all others come from stays open."""
        _log.exception(line("accept_broke"))
        self._resume_at = time.monotonic() + PAUSE_S

    def _take_in(self, connection: socket.socket, address: tuple[str, int]) -> None:
        now = time.monotonic()
        if not self._has_room_for(origin_of(address[0]), now):
            self._refuse(connection, now)
            return
        try:
            self.set_socket_options(connection)
            self.channel_class(self, connection, address, self.adj, self.sockets)
        except OSError:  # it has gone already, or the system cannot watch one more
            connection.close()

    def _has_room_for(self, origin: str, now: float) -> bool:
        """True, if there is room for one more, perhaps since others had to go."""
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
        """All there are have requests that are worked on: say so, as far as it can be said at once."""
        self._refusals.tell(now, lambda times: _log.warning(line("refuse_connections", count=times)))
        with connection:
            connection.setblocking(False)
            try:
                connection.send(_no_room())
            except OSError:
                return  # it has gone, or has no room for a kilobyte: it will see the end

    def _pause(self, error: OSError) -> None:
        """The system has no descriptor or no memory for one more: make room, and try again in a moment."""
        now = time.monotonic()
        reason = error.strerror
        self._failures.tell(now, lambda times: _log.warning(line("accept_failed", error=reason, count=times)))
        self._resume_at = now + PAUSE_S
        self._shed(len(self.active_channels) // SHED_SHARE, now)

    def _look(self, now: float) -> None:
        """Give up those whose time is over."""
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


def _no_room() -> bytes:
    """An answer for who cannot even be listened to."""
    problem = msgspec.json.encode(problem_of(TooManyConnections(), secrets.token_hex(8)))
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
        f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {len(problem)}\r\n\r\n"
    )
    return head.encode() + problem
