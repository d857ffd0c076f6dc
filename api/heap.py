"""Large blocks of memory go back to the system as soon as they are freed; the garbage collector rarely runs.

glibc maps a large block by itself and unmaps it when it is freed, but only until it has seen one freed: from
then on blocks of that size come out of its arenas, of which each thread has its own and keeps what is in it.
After sixty pictures in as many threads that was gigabytes. So blocks are mapped, and arenas are few.
"""

import ctypes
import gc
from typing import Final

LARGE_BYTES: Final = 1 << 20
ARENAS: Final = 2
"""The interpreter lets one thread run at a time; each arena keeps the most that it ever needed."""
YOUNG: Final = 20_000
"""Objects of some hundreds of requests at once: what they leave is freed without the collector."""
_M_ARENA_MAX: Final = -8
_M_MMAP_THRESHOLD: Final = -3
"""Source: mallopt(3); once it is set it no longer moves."""


def map_large_blocks() -> None:
    """Once, at the start of the process. Where the C library is another one it has its own ways."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_ARENA_MAX, ARENAS)


def collect_seldom() -> None:
    """Once, at the end of the start: what is there stays, and Python need not look at it again.

    With its own numbers the collector runs in each burst of requests, and costs a fifth of their time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
