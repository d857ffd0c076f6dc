"""Python's full garbage collection, put off until nobody waits.

It stops the process for as long as it takes to look at every object: 8 ms with 4,000 jobs waiting, and all
the longer with more, in the middle of a batch. The core builds no cycles, so that what it drops is freed at
once without it; a full collection is for what exceptions and libraries leave behind, and has time.
"""

import gc
from typing import Final

EVERY_S: Final = 600.0
"""The least time between two full collections."""
_YOUNG: Final = 2_000
_MIDDLE: Final = 20
_NEVER: Final = 1_000_000_000


def put_off_full_collections() -> None:
    """Leave only the young generations to Python. For the whole process: called by its entry alone."""
    _collect()
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)


class GcControl:
    """Spends moments in which nothing has come on what is better not done in others."""

    def __init__(self) -> None:
        self._collected_s = -EVERY_S

    def use(self, now_s: float) -> None:
        """Collect garbage, if that was long enough ago. Units: monotonic seconds."""
        if now_s >= self._collected_s + EVERY_S:
            self._collected_s = now_s
            _collect()


def _collect() -> None:
    """Collect everything, then take what has stayed out of the collector's sight: the next time is short."""
    gc.collect()
    gc.freeze()
