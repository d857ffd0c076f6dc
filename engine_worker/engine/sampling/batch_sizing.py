"""Tunes the number of rows per UNet call: as many as pay off and fit in memory.

Pure: durations are arguments. A larger batch uses a device better up to a point, the knee; beyond it a call
takes longer in proportion to its rows, and every image only waits longer for each step. The knee depends on
the device, the model and the image size, so it is measured on the calls that are made anyway. Other processes
can only add to a duration, so the shortest of the last few counts. Measurements and out-of-memory bounds
expire after some hundred calls, because memory and neighbors change.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

# The shortest of the last few durations counts, if there are enough of them.
_KEPT: Final = 8
_ENOUGH: Final = 3
# A larger batch pays off if its throughput is higher by more than this fraction.
_LEAST_GAIN: Final = 0.05
# A measurement or an out-of-memory bound expires after this many calls.
_FORGOTTEN_AFTER: Final = 400


@dataclass(slots=True)
class _Timed:
    """The durations of the last calls with the same number of rows."""

    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    last_call: int = 0


@dataclass(slots=True)
class _Kind:
    """Calls that differ only in their rows."""

    calls: int = 0
    timed: dict[int, _Timed] = field(default_factory=dict)
    memory_rows: int | None = None
    memory_call: int = 0


class BatchSizeTuner:
    """Remembers durations of calls. A kind is everything except the rows that decides time and memory."""

    def __init__(self) -> None:
        self._kinds: dict[Hashable, _Kind] = {}

    def most_rows(self, kind: Hashable) -> int | None:
        """The most rows that a call of this kind should have; None if no bound is known."""
        known = self._kinds.get(kind)
        if known is None:
            return None
        is_outdated = known.calls - known.memory_call > _FORGOTTEN_AFTER
        bounds = [_best_size(known), None if is_outdated else known.memory_rows]
        return min((bound for bound in bounds if bound is not None), default=None)

    def measured(self, kind: Hashable, rows: int, seconds: float) -> None:
        """Record the duration of a call, in seconds."""
        known = self._kinds.setdefault(kind, _Kind())
        known.calls += 1
        timed = known.timed.setdefault(rows, _Timed())
        if known.calls - timed.last_call > _FORGOTTEN_AFTER:
            timed.seconds.clear()
        timed.seconds.append(seconds)
        timed.last_call = known.calls

    def lacked_memory(self, kind: Hashable, rows: int) -> None:
        """Record that a call with this many rows ran out of memory."""
        known = self._kinds.setdefault(kind, _Kind())
        known.memory_rows = max(1, rows // 2)
        known.memory_call = known.calls


def _best_size(kind: _Kind) -> int | None:
    """The smallest number of rows that is as good as any larger one; None if the largest one seen is the
    best."""
    costs = {
        rows: min(timed.seconds) / rows
        for rows, timed in sorted(kind.timed.items())
        if len(timed.seconds) >= _ENOUGH and kind.calls - timed.last_call <= _FORGOTTEN_AFTER
    }
    if not costs:
        return None
    bound = min(costs.values()) * (1 + _LEAST_GAIN)
    best_size = next(rows for rows, cost in costs.items() if cost <= bound)
    return None if best_size == max(costs) else best_size
