"""Retries work that ran out of memory: once more after memory was freed, or in another way.

An exception's traceback holds the frames of the failed attempt, and with them its tensors. So memory is freed
and the second attempt is made only after the `except` block has ended. Before that, garbage is collected, and
on a GPU torch's allocator returns its unused blocks: they may be fragmented, or belong to another stream.
There is exactly one retry: a second failure means that the work does not fit, and the job fails with
`out_of_memory`.
"""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from engine_worker.engine.runtime.devices import release_unused
from engine_worker.engine.runtime.failures import is_out_of_memory

Result = TypeVar("Result")


def fall_back_on_oom(
    first: Callable[[], Result],
    second: Callable[[], Result],
    device: torch.device,
    evict: Callable[[], None] = lambda: None,
) -> Result:
    """Call `first`; if it runs out of memory on the device or the host, call `evict`, then `second`.

    May be called from any thread. Raises: the errors of both; torch.OutOfMemoryError, if `second` does not
    fit either.
    """
    try:
        return first()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Here the traceback no longer holds the tensors of the failed attempt.
    evict()
    gc.collect()
    release_unused(device)
    return second()


def retry_on_oom(work: Callable[[], Result], device: torch.device, evict: Callable[[], None]) -> Result:
    """Do some work, and once more after `evict` if there is not enough memory.

    Raises: as `fall_back_on_oom`.
    """
    return fall_back_on_oom(work, work, device, evict)
