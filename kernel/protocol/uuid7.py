"""UUIDv7: ids that sort by their time of creation. Source: RFC 9562, section 5.7."""

import os
import time
from threading import Lock
from typing import Final

_COUNTER_BITS: Final = 12
_RANDOM_BYTES: Final = 8
_POOL_BYTES: Final = 512 * _RANDOM_BYTES
"""Random bytes are drawn for many ids at once: one system call for each would be most of the cost."""


class Uuid7:
    """Makes ids that rise strictly within one process, also when the clock stands still or goes back.

    The 12 bits after the time are a counter (RFC 9562, section 6.2, method 1); when it overflows, the time is
    borrowed from the next millisecond.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._tick = 0  # milliseconds << 12 | counter
        self._pool = b""
        self._used = 0

    def bytes(self) -> bytes:
        """The next id as 16 bytes."""
        with self._lock:
            self._tick = tick = max(self._tick + 1, time.time_ns() // 1_000_000 << _COUNTER_BITS)
            if self._used >= len(self._pool):
                self._pool, self._used = os.urandom(_POOL_BYTES), 0
            self._used += _RANDOM_BYTES
            noise = int.from_bytes(self._pool[self._used - _RANDOM_BYTES : self._used], "big")
        value = tick >> _COUNTER_BITS << 80 | 0x7 << 76 | (tick & 0xFFF) << 64 | 0b10 << 62 | noise >> 2
        return value.to_bytes(16, "big")

    def text(self) -> str:
        """The next id as text: 36 characters, lower case."""
        digits = self.bytes().hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
