"""Limits the requests that wait for an event. An open stream has a thread, `?wait=` has none."""

import threading

from api.http.framework.threads import RequestThread


class ConcurrencyLimit:
    """A counter with an upper bound. Thread-safe."""

    def __init__(self, limit: int, *, has_threads: bool = True) -> None:
        """`has_threads`: whoever takes a slot keeps its thread."""
        self.limit = limit
        self._has_threads = has_threads
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        return self._taken

    def take(self) -> bool:
        """Take a slot; False, if none is free. A thread that is kept leaves its pool to others."""
        with self._lock:
            if self._taken >= self.limit:
                return False
            self._taken += 1
        thread = threading.current_thread()
        if self._has_threads and isinstance(thread, RequestThread):
            thread.step_aside()
        return True

    def give_back(self) -> None:
        """Release a slot, once."""
        with self._lock:
            self._taken -= 1
        thread = threading.current_thread()
        if self._has_threads and isinstance(thread, RequestThread):
            thread.come_back()
