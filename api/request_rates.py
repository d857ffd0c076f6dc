"""How many requests API keys may send: a token bucket for each key that has a limit, in memory."""

import threading
import time
from collections.abc import Callable

from kernel.protocol.errors import TooFast
from kernel.protocol.ids import KeyId
from kernel.protocol.rows import KeyRow


class RequestRates:
    """Counts requests. Thread-safe. After a break of a minute, a minute's requests may come at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[KeyId, tuple[float, float]] = {}
        """How many requests a key has left, and when that was."""

    def take(self, row: KeyRow | None) -> None:
        """Count a request with this key, if that has a limit. Raises: TooFast; then it is not counted."""
        most = None if row is None else row.limits.max_requests_a_minute
        if row is None or most is None:
            return
        with self._lock:
            now_s = self._clock()
            left, at_s = self._left.get(row.key_id, (most, now_s))
            left = min(most, left + (now_s - at_s) * most / 60)
            self._left[row.key_id] = (left - 1 if left >= 1 else left, now_s)
        if left < 1:
            raise TooFast(retry_after_s=(1 - left) * 60 / most)
