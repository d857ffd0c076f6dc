"""Limits the requests that wait for something, in all and by address."""

import threading
from collections import Counter

from api.http.framework.threads import RequestThread


class ConcurrencyLimit:
    """A counter with an upper bound, and one for each address. Thread-safe."""

    def __init__(self, limit: int, *, per_address: int | None = None, has_threads: bool = True) -> None:
        """`has_threads`: whoever takes a slot keeps its thread."""
        self.limit = limit
        self._per_address = limit if per_address is None else per_address
        self._has_threads = has_threads
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        with self._lock:
            return self._taken.total()

    def take(self, address: str = "") -> bool:
        """Take a slot; False, if none is free. A thread that is kept leaves its pool to others."""
        with self._lock:
            if self._taken.total() >= self.limit or self._taken[address] >= self._per_address:
                return False
            self._taken[address] += 1
        thread = threading.current_thread()
        if self._has_threads and isinstance(thread, RequestThread):
            thread.step_aside()
        return True

    def give_back(self, address: str = "") -> None:
        """Release a slot, once."""
        with self._lock:
            self._taken[address] -= 1
            if not self._taken[address]:
                del self._taken[address]
        thread = threading.current_thread()
        if self._has_threads and isinstance(thread, RequestThread):
            thread.come_back()
