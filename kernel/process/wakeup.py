"""Wakes a thread that sleeps in a poller, from any other thread: a descriptor, and a queue with one."""

import os
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Wakeup:
    """Readable from `ring` until `silence`. Source: eventfd(2)."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._descriptor

    def ring(self) -> None:
        """Wake the poller; called by any thread."""
        os.eventfd_write(self._descriptor, 1)

    def silence(self) -> bool:
        """Called by the poller's thread. Returns: True, if it has been rung since the last call."""
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Close the descriptor; `ring` must not be called afterwards."""
        os.close(self._descriptor)


class PollableQueue(Generic[Item]):
    """Many threads put, one takes. The descriptor is readable while the queue may hold items."""

    def __init__(self) -> None:
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._wakeup = Wakeup()

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._wakeup.fileno()

    def put(self, item: Item) -> None:
        """Add an item and wake the poller."""
        self._items.put(item)
        self._wakeup.ring()

    def take_all(self) -> list[Item]:
        """Remove and return all items. The bell is silenced first, so an item that comes meanwhile rings
        again."""
        items: list[Item] = []
        if self._wakeup.silence():
            try:
                while True:
                    items.append(self._items.get_nowait())
            except Empty:
                pass
        return items

    def close(self) -> None:
        """Close the descriptor; `put` must not be called afterwards."""
        self._wakeup.close()
