"""Limits the requests that wait for an event: each open stream and `?wait=` has a thread."""

import threading

from api.http.framework.threads import RequestThread


class ConcurrencyLimit:
    """A counter with an upper bound. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        return self._taken

    def take(self) -> bool:
        """Take a slot; False, if none is free. The thread of the request then leaves its pool to others."""
        with self._lock:
            if self._taken >= self.limit:
                return False
            self._taken += 1
        thread = threading.current_thread()
        if isinstance(thread, RequestThread):
            thread.step_aside()
        return True

    def give_back(self) -> None:
        """Release a slot, once."""
        with self._lock:
            self._taken -= 1
        thread = threading.current_thread()
        if isinstance(thread, RequestThread):
            thread.come_back()
