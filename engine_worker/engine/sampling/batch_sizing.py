"""Tunes the rows per UNet call: as many as pay off and fit in memory.

Pure. A larger batch makes more of a device up to a point, the knee; beyond it a call takes longer by as much
as it makes more, and everybody only waits longer for each step. Where the knee lies depends on the device,
the model and the size of the images, so it is measured on the calls that are made anyway.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

# Neighbours on the machine only ever add to a call's time, so the shortest of a few tells how fast it is.
_KEPT: Final = 8
_ENOUGH: Final = 3
# A batch that makes more than this over a smaller one per second has paid.
_LEAST_GAIN: Final = 0.05
# Calls after which a measurement, or a lack of memory, is taken for outdated and tried anew.
_FORGOTTEN_AFTER: Final = 400


@dataclass(slots=True)
class _Timed:
    """The last calls with as many rows."""

    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    last_call: int = 0


@dataclass(slots=True)
class _Kind:
    """Calls that are alike but for their rows."""

    calls: int = 0
    timed: dict[int, _Timed] = field(default_factory=dict)
    memory_rows: int | None = None
    memory_call: int = 0


class BatchSizeTuner:
    """Remembers how long calls took. A kind is what decides about time and memory beside the rows."""

    def __init__(self) -> None:
        self._kinds: dict[Hashable, _Kind] = {}

    def most_rows(self, kind: Hashable) -> int | None:
        """The most rows that a call of this kind should have; None if nothing speaks against any number."""
        known = self._kinds.get(kind)
        if known is None:
            return None
        is_outdated = known.calls - known.memory_call > _FORGOTTEN_AFTER
        bounds = [_best_size(known), None if is_outdated else known.memory_rows]
        return min((bound for bound in bounds if bound is not None), default=None)

    def measured(self, kind: Hashable, rows: int, seconds: float) -> None:
        """A call took so long."""
        known = self._kinds.setdefault(kind, _Kind())
        known.calls += 1
        timed = known.timed.setdefault(rows, _Timed())
        if known.calls - timed.last_call > _FORGOTTEN_AFTER:
            timed.seconds.clear()
        timed.seconds.append(seconds)
        timed.last_call = known.calls

    def lacked_memory(self, kind: Hashable, rows: int) -> None:
        """There was no memory for a call with so many rows."""
        known = self._kinds.setdefault(kind, _Kind())
        known.memory_rows = max(1, rows // 2)
        known.memory_call = known.calls


def _best_size(kind: _Kind) -> int | None:
    """The smallest number of rows that is as good as any larger; None if the largest one seen is better."""
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
