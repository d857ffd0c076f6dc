"""LRU caches, bounded by count and by bytes: one for any values, and one of loaded models on top of it.

An evicted value is only forgotten here: a job that holds it keeps it until it ends. So a cache never frees
memory that is in use, and its limits bound only what is kept for later jobs.
"""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource

Key = TypeVar("Key")
Value = TypeVar("Value")
Loaded = TypeVar("Loaded")
Identity = tuple[ModelId, str | None]
"""A model and the sha256 of its files: the same id with other files is another model."""


class LruCache(Generic[Key, Value]):
    """Keeps the most recently used values. Its methods are safe to call from any thread."""

    def __init__(
        self,
        *,
        max_count: int | None = None,
        max_bytes: int | None = None,
        size_bytes: Callable[[Value], int] = lambda value: 0,
        min_count: int = 0,
    ) -> None:
        """A limit of None is no limit; `min_count` values stay however large they are."""
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._size_bytes = size_bytes
        self._min_count = min_count
        self._values: OrderedDict[Key, Value] = OrderedDict()
        """Least recently used first."""
        self._lock = Lock()

    @property
    def size_bytes(self) -> int:
        """The size of all values."""
        with self._lock:
            return self._total_bytes()

    def has(self, key: Key) -> bool:
        """True if a value is cached. This does not count as a use of it."""
        with self._lock:
            return key in self._values

    def find(self, key: Key) -> Value | None:
        """The value of a key, or None if it is not cached."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def keep(self, key: Key, value: Value) -> Value:
        """Cache a value, then evict others until the limits hold. Returns: the value."""
        with self._lock:
            self._values[key] = value
            self._evict()
        return value

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The cached value, or the one that `make` returns, which is called after space for one was made.

        Two threads that miss the same key both call `make`. Raises: what `make` raises; nothing is cached
        then.
        """
        found = self.find(key)
        if found is not None:
            return found
        with self._lock:
            self._evict(coming=1)
        return self.keep(key, make())

    def clear(self) -> None:
        """Forget everything, for instance because memory is needed for something else."""
        with self._lock:
            self._values.clear()

    def _evict(self, coming: int = 0) -> None:
        while len(self._values) > self._min_count and self._is_full(coming):
            self._values.popitem(last=False)

    def _is_full(self, coming: int) -> bool:
        has_too_many = self._max_count is not None and len(self._values) + coming > self._max_count
        return has_too_many or (self._max_bytes is not None and self._total_bytes() > self._max_bytes)

    def _total_bytes(self) -> int:
        return sum(map(self._size_bytes, self._values.values()))


class ModelCache(Generic[Loaded]):
    """Loaded models by the identity of their files. The one that was loaded last stays, however large it is.

    Its methods are safe to call from any thread. One model is loaded at a time, and a thread that asks for a
    cached one does not wait for that.
    """

    def __init__(
        self,
        load: Callable[[ModelSource], Loaded],
        size_bytes: Callable[[Loaded], int],
        *,
        max_count: int,
        max_bytes: int,
    ) -> None:
        self._load = load
        self._models: LruCache[Identity, Loaded] = LruCache(
            max_count=max_count, max_bytes=max_bytes, size_bytes=size_bytes, min_count=1
        )
        self._loading = Lock()

    @property
    def size_bytes(self) -> int:
        """The memory that all cached models take."""
        return self._models.size_bytes

    def has(self, source: ModelSource) -> bool:
        """True if the model is loaded."""
        return self._models.has(identity_of(source))

    def take(self, source: ModelSource) -> Loaded:
        """The model, which is loaded now unless it is cached.

        Raises: what loading raises; the cache is unchanged then.
        """
        identity = identity_of(source)
        held = self._models.find(identity)
        if held is not None:
            return held
        with self._loading:
            held = self._models.find(identity)
            return self._models.keep(identity, self._load(source)) if held is None else held

    def clear(self) -> None:
        """Forget all models, for instance because memory is needed for something else."""
        self._models.clear()


def identity_of(source: ModelSource) -> Identity:
    """The key by which a loaded model is recognized."""
    return source.model_id, source.sha256
