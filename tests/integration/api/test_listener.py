"""The loop of the sockets goes on whatever goes wrong with those who come, and is woken when it has to be."""

import os
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from errno import EMFILE

import pytest
from waitress.adjustments import Adjustments

from api.http.framework.bodies import Budget
from api.http.framework.body_intake import BodyIntake, BodyTerms
from api.http.framework.channels import channel_class
from api.http.framework.connection_limits import Capacity, Deadlines
from api.http.framework.guard import Guard
from api.http.framework.listener import Listener
from api.http.framework.loop import Sockets
from api.http.framework.thread_pools import shares_of
from api.http.framework.threads import Threads
from api.http.proxies.sender import Proxies
from conf.settings import Server

TURNS = 4
"""To fail, to look away, to sleep until the pause is over, and to accept."""
TURN_S = 5.0
FULL = OSError(EMFILE, os.strerror(EMFILE))


class Sick(socket.socket):
    """A listening socket whose first calls fail."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self._errors = deque(errors)
        self.bind(("127.0.0.1", 0))
        self.listen()

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if self._errors:
            raise self._errors.popleft()
        connection, address = super().accept()
        return connection, (str(address[0]), int(address[1]))


@contextmanager
def listening(sick: Sick) -> Iterator[Listener]:
    threads = Threads(shares_of(Server()), lambda: False)
    made = Listener(None, sick, threads, Adjustments(sockets=[sick]), (Capacity(16, 16), Deadlines()))
    guard = Guard("127.0.0.1", ())
    intake = BodyIntake(guard, 1_024, Budget(0, 0), BodyTerms())
    made.channel_class = channel_class(intake, Proxies((), guard.check_host))
    try:
        yield made
    finally:
        for one in list(made.sockets.values()):
            one.handle_close()
        made.sockets.close()


@pytest.mark.parametrize("error", [FULL, RuntimeError("a surprise")])
def test_after_a_failure_others_are_accepted_as_soon_as_the_pause_is_over(error: Exception) -> None:
    sick = Sick(error)
    with listening(sick) as listener, socket.create_connection(sick.getsockname()):
        for _ in range(TURNS):
            listener.turn(TURN_S)
        assert listener.crowd.total == 1


class Side:
    """One end of a pair of sockets, as waitress would have it."""

    accepting = False

    def __init__(self, sockets: Sockets, end: socket.socket) -> None:
        self.wants_to_read, self.has_to_write = True, False
        self._fileno = end.fileno()
        sockets[self._fileno] = self

    def readable(self) -> bool:
        return self.wants_to_read

    def writable(self) -> bool:
        return self.has_to_write

    def handle_close(self) -> None:
        raise AssertionError("nobody hangs up here")

    def handle_read_event(self) -> None:
        """A thread answers at once, and is in the middle of it."""
        self.has_to_write = True

    def handle_write_event(self) -> None:
        self.has_to_write = False


def test_the_loop_need_not_be_woken_while_it_watches_for_all_that_is_wanted() -> None:
    here, there = socket.socketpair()
    sockets = Sockets()
    with here, there, closing(sockets):
        side = Side(sockets, here)
        assert sockets.is_watched_for(side)
        side.has_to_write = True
        assert not sockets.is_watched_for(side)
        side.has_to_write = side.wants_to_read = False
        there.sendall(b"more than it takes now")
        sockets.wait(10)  # it looks away
        side.wants_to_read = True
        assert not sockets.is_watched_for(side)
        sockets.changed(side)
        sockets.review()
        assert sockets.is_watched_for(side)
        del sockets[here.fileno()]
        assert not sockets.is_watched_for(side)


def test_the_loop_waits_for_room_only_when_it_is_told_that_something_is_left() -> None:
    here, there = socket.socketpair()
    sockets = Sockets()
    with here, there, closing(sockets):
        side = Side(sockets, here)
        there.sendall(b"a request")
        sockets.wait(10)
        here.recv(100)
        sockets.wait(0)
        assert side.writable()
        sockets.changed(side)
        sockets.review()
        sockets.wait(10)
        assert not side.writable()
        assert sockets.is_watched_for(side)
