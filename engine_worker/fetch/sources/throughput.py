"""How fast a download is: what is shown, and when it is too slow to go on."""

from collections import deque
from collections.abc import Callable

from engine_worker.fetch.net.http_client import Interrupted, Patience

SHOWN_S = 5.0
"""The speed that is shown is that of the last seconds."""
_SAMPLE_S = 0.25


class Throughput:
    """Counts bytes over time. `clock` gives monotonic seconds."""

    def __init__(self, patience: Patience, clock: Callable[[], float]) -> None:
        self._patience = patience
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._total = 0
        self._window = (clock(), 0)

    def count(self, size_bytes: int) -> None:
        """So much has come.

        Raises: Interrupted, if it has been less than the least for too long.
        """
        self._total += size_bytes
        now = self._clock()
        if now - self._samples[-1][0] >= _SAMPLE_S:
            self._samples.append((now, self._total))
            while len(self._samples) > 2 and now - self._samples[1][0] >= SHOWN_S:
                self._samples.popleft()
        self._check(now)

    def bytes_per_s(self) -> int | None:
        """The speed of the last seconds; None when there is nothing to tell it by."""
        began, before = self._samples[0]
        spent_s = self._clock() - began
        return int((self._total - before) / spent_s) if spent_s >= _SAMPLE_S else None

    def _check(self, now: float) -> None:
        since, before = self._window
        if now - since < self._patience.slow_after_s:
            return
        if self._total - before < self._patience.slowest_bytes_per_s * (now - since):
            raise Interrupted("the server sends data too slowly")
        self._window = (now, self._total)
