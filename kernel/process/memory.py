"""How a process keeps memory: what malloc does with freed blocks, and when Python collects garbage.

By itself glibc maps each large block anew and unmaps it when it is freed, but only until it has seen some
freed: from then on blocks of that size come out of its arenas, of which each thread has its own and keeps
what is in it.

After sixty images in as many threads of the API that was gigabytes. So large blocks are mapped there, and
arenas are few (`map_large_blocks`).

In an engine worker every convolution of a full-size UNet asks for one such block, and the system zeroes 59
MB for it, page by page. Half of a step went there. A worker keeps its memory for the next step instead, in
one heap for all threads, and gives back what is free once it has nothing to do (`keep_freed_memory`).

Blocks of tensors begin at multiples of 64 bytes, so glibc takes up to 96 bytes more for each and frees the
slivers before and behind it. Where a sliver stays in a cache for small blocks, what is given back beside it
is too small for the next block of the same size, and the heap grows. So slivers are joined with their
neighbors at once. The cache that each thread has can be switched off before the process begins and no
later: the Manager's launcher does that (GLIBC_TUNABLES).

Source: mallopt(3), malloc_trim(3), glibc's manual, "Memory Allocation Tunables"; docs/adr/0035,
docs/adr/0036.
"""

import ctypes
import gc
from typing import Final

LARGE_BYTES: Final = 1 << 20
ARENAS: Final = 2
"""The interpreter lets one thread run at a time; each arena keeps the most that it ever needed."""
YOUNG: Final = 20_000
"""Objects of some hundreds of requests at once: what they leave is freed without the collector."""
# The C library's own numbers, malloc.h.
_M_MXFAST: Final = 1
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_MMAP_MAX: Final = -4
_M_ARENA_MAX: Final = -8
_NEVER: Final = -1
"""As a size it is the largest one."""


def map_large_blocks() -> None:
    """Large blocks go back to the system as soon as they are freed. Once, at the start of the process."""
    _set(_M_MMAP_THRESHOLD, LARGE_BYTES)
    _set(_M_ARENA_MAX, ARENAS)


def keep_freed_memory() -> None:
    """Let this process keep what it frees, from now on."""
    _set(_M_MMAP_MAX, 0)
    _set(_M_TRIM_THRESHOLD, _NEVER)
    _set(_M_ARENA_MAX, 1)
    _set(_M_MXFAST, 0)


def give_back_freed_memory() -> None:
    """Give all pages in which nothing lies back to the system; what needs them again pays with faults."""
    if (trim := getattr(_LIBC, "malloc_trim", None)) is not None:
        trim(0)


def collect_seldom() -> None:
    """Once, at the end of the start: what is there stays, and Python need not look at it again.

    With its own numbers the collector runs in each burst of requests, and costs a fifth of their time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)


def _set(option: int, value: int) -> None:
    """Elsewhere than on glibc nothing changes: another C library has its own ways."""
    if (set_option := getattr(_LIBC, "mallopt", None)) is not None:
        set_option(option, value)


_LIBC: Final = ctypes.CDLL(None)
