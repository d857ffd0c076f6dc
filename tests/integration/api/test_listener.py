"""The listening socket: whatever goes wrong with those who come, it goes on."""

import os
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EMFILE

import pytest
from waitress.adjustments import Adjustments

from api.http.bodies import Budget
from api.http.channels import channel_class
from api.http.guard import Guard
from api.http.intake import Intake
from api.http.lanes import shares_of
from api.http.listener import Listener
from api.http.standings import Capacity, Deadlines
from api.http.threads import Threads
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
    made.channel_class = channel_class(Intake(Guard("127.0.0.1", ()), 1_024, Budget(0, 0), None))
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
