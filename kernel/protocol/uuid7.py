"""UUIDv7 (RFC 9562, section 5.7): ids that sort by their time of birth, strictly within one process."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

_RANDOM_BITS: Final = 74
_RANDOM_LIMIT: Final = 1 << _RANDOM_BITS
_STEP_BITS: Final = 32
"""How far an id of the same millisecond is from the one before: hard to guess, and 2**42 of them fit in."""


class Uuid7Maker:
    """Makes ids that rise strictly, even when the clock stands still or goes back (section 6.2, method 2).

    `clock_ms` gives milliseconds since 1970 UTC, `random_bits` a random number of so many bits.
    Not safe to share among threads without a lock.
    """

    def __init__(self, clock_ms: Callable[[], int], random_bits: Callable[[int], int]) -> None:
        self._clock_ms = clock_ms
        self._random_bits = random_bits
        self._last_ms = 0
        self._last_random = 0

    def make(self) -> UUID:
        """The next id."""
        now_ms = self._clock_ms()
        if now_ms > self._last_ms:
            self._last_ms = now_ms
            # One bit is left free at the top, so that the steps of this millisecond have room to rise in.
            self._last_random = self._random_bits(_RANDOM_BITS - 1)
        else:
            self._last_random += 1 + self._random_bits(_STEP_BITS)
            if self._last_random >= _RANDOM_LIMIT:
                self._last_ms += 1
                self._last_random = self._random_bits(_RANDOM_BITS - 1)
        return _uuid_of(self._last_ms, self._last_random)


def _uuid_of(time_ms: int, random: int) -> UUID:
    """Lay out 48 bits of time, the version, 12 random bits, the variant, 62 random bits."""
    high = (time_ms & (1 << 48) - 1) << 16 | 7 << 12 | random >> 62
    low = 0b10 << 62 | random & (1 << 62) - 1
    return UUID(int=high << 64 | low)
