"""Retries after running out of memory: once more with freed memory, or another way."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from engine_worker.engine.runtime.failures import is_out_of_memory

Result = TypeVar("Result")


def fall_back_on_oom(
    first: Callable[[], Result],
    second: Callable[[], Result],
    device: torch.device,
    let_go: Callable[[], None] = lambda: None,
) -> Result:
    """Do the first; if the memory of the device or the host is too small for it, let go and do the second.

    For every thread. Raises: what either raises; torch.OutOfMemoryError, if there is no memory for the
    second either.
    """
    try:
        return first()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Out here the failed attempt's tensors are no longer held by its traceback.
    let_go()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return second()


def retry_on_oom(work: Callable[[], Result], device: torch.device, let_go: Callable[[], None]) -> Result:
    """Do it, and once more after letting go of what is only kept for later, if there is no memory for it.

    Raises: as `fall_back_on_oom`.
    """
    return fall_back_on_oom(work, work, device, let_go)
