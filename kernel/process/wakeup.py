"""From any thread to the one that sleeps in a poller: a descriptor to wake it, and a queue with one."""

import os
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Wakeup:
    """Readable from `ring` on, until `silence`. Source: eventfd(2)."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._descriptor

    def ring(self) -> None:
        """Wake the poller; called by any thread."""
        os.eventfd_write(self._descriptor, 1)

    def silence(self) -> bool:
        """Called by the poller's thread. Returns: whether anybody has rung since the last call."""
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Nobody may ring any more."""
        os.close(self._descriptor)


class PollableQueue(Generic[Item]):
    """Many threads put, one takes. Nobody polls: the descriptor is readable while something may be here."""

    def __init__(self) -> None:
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._wakeup = Wakeup()

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._wakeup.fileno()

    def put(self, item: Item) -> None:
        """Put an item in and ring."""
        self._items.put(item)
        self._wakeup.ring()

    def take_all(self) -> list[Item]:
        """Everything that is here. The bell is silenced first, so what comes meanwhile rings again."""
        items: list[Item] = []
        if self._wakeup.silence():
            try:
                while True:
                    items.append(self._items.get_nowait())
            except Empty:
                pass
        return items

    def close(self) -> None:
        """Nobody may put anything in any more."""
        self._wakeup.close()
