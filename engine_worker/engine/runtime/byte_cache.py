"""An LRU cache bounded by bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Forgets what was not asked for the longest; what is larger than the whole is not kept."""

    def __init__(self, limit_bytes: int, size_of: Callable[[V], int]) -> None:
        self._limit_bytes = limit_bytes
        self._size_of = size_of
        self._held: OrderedDict[K, V] = OrderedDict()
        self._held_bytes = 0

    def get(self, key: K, make: Callable[[], V]) -> V:
        """What is kept for the key, or else what `make` makes. An error of it is passed on, and not kept."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        made = make()
        self._held[key] = made
        self._held_bytes += self._size_of(made)
        while self._held_bytes > self._limit_bytes:
            _, forgotten = self._held.popitem(last=False)
            self._held_bytes -= self._size_of(forgotten)
        return made
