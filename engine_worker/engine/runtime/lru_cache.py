"""An LRU cache bounded by count, for loaded models."""

from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class LruCache(Generic[Key, Value]):
    """Keeps the values that were asked for last; for one thread."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[Key, Value] = {}
        """In the order of their last use."""

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value under that key, made if it is not here; room for it is made first.

        Raises: what `make` raises; nothing is kept then.
        """
        if key in self._values:
            value = self._values.pop(key)
        else:
            while len(self._values) >= self._size:
                del self._values[next(iter(self._values))]
            value = make()
        self._values[key] = value
        return value
