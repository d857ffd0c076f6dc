"""A queue from any thread to the one that sleeps in a poller: its bell is a file descriptor."""

import os
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")


class PollableQueue(Generic[Item]):
    """Many threads put, one takes. Nobody polls: the descriptor is readable while something may be here."""

    def __init__(self) -> None:
        self._items: SimpleQueue[Item] = SimpleQueue()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._bell

    def put(self, item: Item) -> None:
        """Put an item in and ring."""
        self._items.put(item)
        os.eventfd_write(self._bell, 1)

    def take_all(self) -> list[Item]:
        """Everything that is here. The bell is silenced first, so what comes meanwhile rings again."""
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            return []
        items: list[Item] = []
        while True:
            try:
                items.append(self._items.get_nowait())
            except Empty:
                return items
