"""The loop of the sockets, by epoll: what a silent connection costs is memory, and no time.

waitress' own loop asks every connection before every wait what it wants, which is a millisecond for a few
hundred of them. Here only those are asked with which something has happened.
"""

import select
from collections import deque
from typing import Final, Protocol

from waitress import wasyncore

MOST_EVENTS: Final = 256
"""Of one turn, so that a new connection never waits for thousands of others."""


class Watched(Protocol):
    """What waitress calls a dispatcher."""

    accepting: bool

    def readable(self) -> bool: ...
    def writable(self) -> bool: ...
    def handle_close(self) -> None: ...


class Sockets(dict[int, Watched]):
    """waitress' map of what is open, by descriptor. What comes into it is watched."""

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
        """Ask it again what it wants. Called by any thread; the loop has to be woken by other means."""
        self._changed.append(one)

    def is_watched_for(self, one: Watched) -> bool:
        """Whether all that it wants is to be read, and it is watched for that. Called by who has changed it.

        The loop looks away before it asks what is wanted now: either it sees the change, or this sees that.
        """
        descriptor: int | None = getattr(one, "_fileno", None)
        return (
            descriptor is not None
            and self._interests.get(descriptor) == select.EPOLLIN
            and not one.writable()
        )

    def wait(self, timeout_s: float) -> None:
        """Wait until something happens, at most so long, and let those handle it whom it concerns.

        New connections come last: they may cost others their place, which those keep whose requests are here.
        """
        happened = self._epoll.poll(timeout_s, MOST_EVENTS)
        for is_accepting in (False, True):
            for descriptor, events in happened:
                one = self.get(descriptor)
                if one is not None and one.accepting is is_accepting:
                    self._handle(descriptor, one, events)

    def review(self) -> None:
        """Ask those that have changed what they want now."""
        while self._changed:
            one = self._changed.popleft()
            descriptor = getattr(one, "_fileno", None)
            if descriptor is not None and self.get(descriptor) is one:
                self._review(descriptor, one)

    def close(self) -> None:
        self._epoll.close()

    def _handle(self, descriptor: int, one: Watched, events: int) -> None:
        if events & select.EPOLLIN and not one.readable():
            events &= ~select.EPOLLIN  # more than it takes now: look away until it does
            self._set(descriptor, self._interests.get(descriptor, 0) & ~select.EPOLLIN)
        if events:
            wasyncore.readwrite(one, events)
        if self.get(descriptor) is one:
            self._review(descriptor, one, begins_writing=False)

    def _review(self, descriptor: int, one: Watched, *, begins_writing: bool = True) -> None:
        """What it wants now. Not wanting to read is believed only when there is something to read: mostly it
        is over by then. What is to be written is mostly on its way out in another thread, which says so if
        something is left; to watch for room meanwhile would be a turn after the other for nothing."""
        before = self._interests.get(descriptor, 0)
        wanted = select.EPOLLIN if one.readable() else before & select.EPOLLIN
        if (begins_writing or before & select.EPOLLOUT) and one.writable() and not one.accepting:
            wanted |= select.EPOLLOUT
        self._set(descriptor, wanted)

    def _set(self, descriptor: int, wanted: int) -> None:
        """With no interest at all it is not watched: an epoll would tell of its end over and over."""
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
