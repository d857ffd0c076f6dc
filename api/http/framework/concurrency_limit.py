"""How many requests may wait at once for something to happen: each open stream and `?wait=` has a thread."""

import threading

from api.http.framework.threads import RequestThread


class ConcurrencyLimit:
    """A count with an upper bound, safe to share among threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        return self._taken

    def take(self) -> bool:
        """Take a seat; False when all are taken. The thread of a request then leaves its lane to others."""
        with self._lock:
            if self._taken >= self.limit:
                return False
            self._taken += 1
        thread = threading.current_thread()
        if isinstance(thread, RequestThread):
            thread.step_aside()
        return True

    def give_back(self) -> None:
        """Give a taken seat back, once."""
        with self._lock:
            self._taken -= 1
        thread = threading.current_thread()
        if isinstance(thread, RequestThread):
            thread.come_back()
