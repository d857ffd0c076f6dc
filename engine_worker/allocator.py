"""What the C library's malloc does with memory that was given back to it.

By itself glibc maps each block above 32 MB anew and unmaps it when it is freed: every convolution of a
full-size UNet asks for one, and the system zeroes 59 MB for it, page by page. Half of a step went there.
A worker keeps its memory for the next step instead, in one heap for all threads, and gives back what is free
once it has nothing to do.

Blocks of tensors begin at multiples of 64 bytes, so glibc takes up to 96 bytes more for each and frees the
slivers before and behind it. Where a sliver stays in a cache for small blocks, what is given back beside it
is too small for the next block of the same size, and the heap grows. So slivers are joined with their
neighbours at once. The cache that each thread has can be switched off before the process begins and no
later: the Manager's launcher does that (GLIBC_TUNABLES).

Source: mallopt(3), malloc_trim(3), glibc's manual, "Memory Allocation Tunables"; docs/adr/0035.
"""

import ctypes
from typing import Final

# The C library's own numbers, malloc.h.
_M_MXFAST: Final = 1
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_MAX: Final = -4
_M_ARENA_MAX: Final = -8
_NEVER: Final = -1
"""As a size it is the largest one."""


def keep_freed_memory() -> None:
    """Let this process keep what it frees, from now on. Elsewhere than on glibc nothing changes."""
    if (set_option := getattr(_LIBC, "mallopt", None)) is not None:
        set_option(_M_MMAP_MAX, 0)
        set_option(_M_TRIM_THRESHOLD, _NEVER)
        set_option(_M_ARENA_MAX, 1)
        set_option(_M_MXFAST, 0)


def give_back_freed_memory() -> None:
    """Give all pages in which nothing lies back to the system; what needs them again pays with faults."""
    if (trim := getattr(_LIBC, "malloc_trim", None)) is not None:
        trim(0)


_LIBC: Final = ctypes.CDLL(None)
