"""How many threads may wait at once: each open stream and each `?wait=` holds one of the server's."""

import threading


class Seats:
    """A count with an upper bound, safe to share among threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        return self._taken

    def take(self) -> bool:
        """Take a seat; False when all are taken."""
        with self._lock:
            if self._taken >= self.limit:
                return False
            self._taken += 1
            return True

    def give_back(self) -> None:
        """Give a taken seat back, once."""
        with self._lock:
            self._taken -= 1
