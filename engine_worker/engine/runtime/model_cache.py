"""An LRU cache of loaded models, bounded by count and bytes."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from kernel.protocol.ids import ModelId
from kernel.protocol.model_refs import ModelSource

Loaded = TypeVar("Loaded")
Identity = tuple[ModelId, str | None]
"""A model and the sha256 of its files: what is registered anew under the same id is another one."""


def identity_of(source: ModelSource) -> Identity:
    """By what a loaded model is known again."""
    return source.model_id, source.sha256


class ModelCache(Generic[Loaded]):
    """Bounded by count and bytes; the one that was wanted least lately goes first.

    What goes is only forgotten here: jobs that hold it keep it until they end. The latest one always stays.
    For every thread. One model is loaded at a time, and nobody waits for that who wants one that is here.
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
        self._size_bytes = size_bytes
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._held: OrderedDict[Identity, Loaded] = OrderedDict()
        self._lock = Lock()
        self._loading = Lock()

    @property
    def size_bytes(self) -> int:
        """Memory that all of it takes."""
        with self._lock:
            return self._total_bytes()

    def has(self, source: ModelSource) -> bool:
        """True if the model is here: taking it takes no time."""
        with self._lock:
            return identity_of(source) in self._held

    def take(self, source: ModelSource) -> Loaded:
        """The model, loaded now unless it is here.

        Raises: what loading raises; then nothing here has changed.
        """
        identity = identity_of(source)
        held = self._find(identity)
        if held is not None:
            return held
        with self._loading:
            held = self._find(identity)
            return self._keep(identity, self._load(source)) if held is None else held

    def clear(self) -> None:
        """Forget everything, because memory is wanted for something else."""
        with self._lock:
            self._held.clear()

    def _find(self, identity: Identity) -> Loaded | None:
        with self._lock:
            if identity in self._held:
                self._held.move_to_end(identity)
            return self._held.get(identity)

    def _keep(self, identity: Identity, loaded: Loaded) -> Loaded:
        with self._lock:
            self._held[identity] = loaded
            while len(self._held) > 1 and self._is_too_full():
                self._held.popitem(last=False)
        return loaded

    def _is_too_full(self) -> bool:
        return len(self._held) > self._max_count or self._total_bytes() > self._max_bytes

    def _total_bytes(self) -> int:
        return sum(map(self._size_bytes, self._held.values()))
