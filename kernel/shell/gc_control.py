"""Postpones Python's full garbage collection until the Manager is idle.

A full collection stops the process while it examines every object: 8 ms with 4,000 jobs waiting, and longer
with more, in the middle of a batch. The core builds no cycles, so its objects are freed at once without the
collector; a full collection is for what exceptions and libraries leave behind, and is not urgent.
"""

import gc
from typing import Final

EVERY_S: Final = 600.0
"""The least time between two full collections."""
_YOUNG: Final = 2_000
_MIDDLE: Final = 20
_NEVER: Final = 1_000_000_000


def put_off_full_collections() -> None:
    """Leave only the young generations to Python. Affects the whole process: called by its entry point
    only."""
    _collect()
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)


class GcControl:
    """Uses idle moments for work that should not happen in a batch."""

    def __init__(self) -> None:
        self._collected_s = -EVERY_S

    def use(self, now_s: float) -> None:
        """Collect garbage, if the last time is long enough ago. Units: monotonic seconds."""
        if now_s >= self._collected_s + EVERY_S:
            self._collected_s = now_s
            _collect()


def _collect() -> None:
    """Collect everything, then freeze the survivors, so that the next collection is short."""
    gc.collect()
    gc.freeze()
