"""How a process keeps memory: malloc's treatment of freed blocks, and Python's garbage collection.

By default glibc maps each large block anew and unmaps it when it is freed, but only until some have been
freed: from then on blocks of that size come from its arenas, of which each thread has its own, and which keep
their memory.

After sixty images in as many threads of the API that was gigabytes. So the API maps large blocks, and has few
arenas (`map_large_blocks`).

In an engine worker every convolution of a full-size UNet allocates such a block, and the system zeroes 59 MB
for it, page by page: half of a step went there. So a worker keeps its memory for the next step, in one heap
for all threads, and returns free memory once it is idle (`keep_freed_memory`).

Blocks of tensors are aligned to 64 bytes, so glibc allocates up to 96 bytes more for each and frees the
slivers before and after it. If a sliver stays in a cache for small blocks, the memory freed beside it is too
small for the next block of the same size, and the heap grows. So slivers are merged with their neighbors at
once. The cache that each thread has can only be switched off before the process starts: the Manager's
launcher does that (GLIBC_TUNABLES).

Source: mallopt(3), malloc_trim(3), glibc's manual, "Memory Allocation Tunables"; docs/adr/0035,
docs/adr/0036.
"""

import ctypes
import gc
from typing import Final

LARGE_BYTES: Final = 1 << 20
ARENAS: Final = 2
"""The interpreter runs one thread at a time, and each arena keeps its peak."""
YOUNG: Final = 20_000
"""Objects of some hundreds of concurrent requests: reference counting frees them without the collector."""
# glibc's constants, from malloc.h.
_M_MXFAST: Final = 1
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_MMAP_MAX: Final = -4
_M_ARENA_MAX: Final = -8
_NEVER: Final = -1
"""As a size: the largest one."""


def map_large_blocks() -> None:
    """Return large blocks to the system as soon as they are freed. Called once, at the start of the
    process."""
    _set(_M_MMAP_THRESHOLD, LARGE_BYTES)
    _set(_M_ARENA_MAX, ARENAS)


def keep_freed_memory() -> None:
    """Keep freed memory in this process from now on."""
    _set(_M_MMAP_MAX, 0)
    _set(_M_TRIM_THRESHOLD, _NEVER)
    _set(_M_ARENA_MAX, 1)
    _set(_M_MXFAST, 0)


def give_back_freed_memory() -> None:
    """Return all empty pages to the system; using them again costs page faults."""
    if (trim := getattr(_LIBC, "malloc_trim", None)) is not None:
        trim(0)


def collect_seldom() -> None:
    """Collect garbage rarely; called once, at the end of the start. Objects that exist now are never
    examined.

    With Python's defaults the collector runs in each burst of requests, and costs a fifth of their time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)


def _set(option: int, value: int) -> None:
    """Set an option of malloc. Without glibc nothing happens: other C libraries have their own ways."""
    if (set_option := getattr(_LIBC, "mallopt", None)) is not None:
        set_option(option, value)


_LIBC: Final = ctypes.CDLL(None)
