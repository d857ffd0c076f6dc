"""The event loop of the sockets, with epoll: an idle connection costs memory, but no time.

waitress' own loop asks every connection before every wait which events it wants, which takes a millisecond
for a few hundred of them, while the interpreter's lock keeps all threads from working. Here only connections
with an event, or a reported change, are asked. That makes a missed change the danger: a connection that wants
to write but is not watched for it would hang. So whoever changes one calls `changed`, and the loop clears its
marks before it asks, never after: it then sees the change, or the other thread sees that the loop must be
woken (adr/0033).
"""

import select
from collections import deque
from typing import Final, Protocol

from waitress import wasyncore

MOST_EVENTS: Final = 256
"""Events handled in one turn, so that a new connection never waits for thousands of others."""


class Watched(Protocol):
    """The part of a waitress dispatcher that is used here."""

    accepting: bool

    def readable(self) -> bool: ...
    def writable(self) -> bool: ...
    def handle_close(self) -> None: ...


class Sockets(dict[int, Watched]):
    """waitress' map of open sockets, by descriptor. Sockets that are added are watched."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()
        self._interests: dict[int, int] = {}
        self._changed: deque[Watched] = deque()

    def __setitem__(self, descriptor: int, one: Watched) -> None:
        self._epoll.register(descriptor, select.EPOLLIN)  # or nothing of it is kept
        super().__setitem__(descriptor, one)
        self._interests[descriptor] = select.EPOLLIN

    def __delitem__(self, descriptor: int) -> None:
        super().__delitem__(descriptor)
        if self._interests.pop(descriptor, 0):
            self._epoll.unregister(descriptor)

    def changed(self, one: Watched) -> None:
        """Have the loop ask the connection again which events it wants. Called by any thread, which must also
        wake the loop."""
        self._changed.append(one)

    def is_watched_for(self, one: Watched) -> bool:
        """True if it only wants to read, and is watched for that. Called by the thread that has changed it.

        The loop clears the mark before it asks: either it sees the change, or this call sees the mark.
        """
        descriptor: int | None = getattr(one, "_fileno", None)
        return (
            descriptor is not None
            and self._interests.get(descriptor) == select.EPOLLIN
            and not one.writable()
        )

    def wait(self, timeout_s: float) -> None:
        """Wait until something happens, at most `timeout_s`, and let the connections concerned handle it.

        New connections come last: they may displace others, but not those whose requests have just arrived.
        """
        happened = self._epoll.poll(timeout_s, MOST_EVENTS)
        for is_accepting in (False, True):
            for descriptor, events in happened:
                one = self.get(descriptor)
                if one is not None and one.accepting is is_accepting:
                    self._handle(descriptor, one, events)

    def review(self) -> None:
        """Ask the changed connections which events they want."""
        while self._changed:
            one = self._changed.popleft()
            descriptor = getattr(one, "_fileno", None)
            if descriptor is not None and self.get(descriptor) is one:
                self._review(descriptor, one)

    def close(self) -> None:
        self._epoll.close()

    def _handle(self, descriptor: int, one: Watched, events: int) -> None:
        if events & select.EPOLLIN and not one.readable():
            events &= ~select.EPOLLIN  # more than it takes now: stop watching until it does
            self._set(descriptor, self._interests.get(descriptor, 0) & ~select.EPOLLIN)
        if events:
            wasyncore.readwrite(one, events)
        if self.get(descriptor) is one:
            self._review(descriptor, one, begins_writing=False)

    def _review(self, descriptor: int, one: Watched, *, begins_writing: bool = True) -> None:
        """Update the events that it wants. Read interest is dropped only when there is something to read,
        because mostly it is wanted again by then. Output is mostly being sent by another thread, which
        reports a remainder; watching for writability meanwhile would only spin."""
        before = self._interests.get(descriptor, 0)
        wanted = select.EPOLLIN if one.readable() else before & select.EPOLLIN
        if (begins_writing or before & select.EPOLLOUT) and one.writable() and not one.accepting:
            wanted |= select.EPOLLOUT
        self._set(descriptor, wanted)

    def _set(self, descriptor: int, wanted: int) -> None:
        """Without any interest it is not watched: epoll would report its end again and again."""
        before = self._interests.get(descriptor, 0)
        if wanted == before:
            return
        if not wanted:
            self._epoll.unregister(descriptor)
        elif not before:
            self._epoll.register(descriptor, wanted)
        else:
            self._epoll.modify(descriptor, wanted)
        self._interests[descriptor] = wanted
