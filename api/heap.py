"""Large blocks of memory go back to the system as soon as they are freed, and arenas are few.

glibc maps a large block by itself and unmaps it when it is freed, but only until it has seen one freed: from
then on blocks of that size come out of its arenas, of which each thread has its own and keeps what is in it.
After sixty pictures in as many threads that was gigabytes.
"""

import ctypes
from typing import Final

LARGE_BYTES: Final = 1 << 20
ARENAS: Final = 2
"""The interpreter lets one thread run at a time; each arena keeps the most that it ever needed."""
_M_ARENA_MAX: Final = -8
_M_MMAP_THRESHOLD: Final = -3
"""Source: mallopt(3); once it is set it no longer moves."""


def map_large_blocks() -> None:
    """Once, at the start of the process. Where the C library is another one it has its own ways."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_ARENA_MAX, ARENAS)
