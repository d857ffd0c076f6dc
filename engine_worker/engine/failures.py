"""What an exception means for the job in whose work it was raised."""

import logging

import torch

from engine_worker.engine.open_job import OpenJob
from kernel.protocol.errors import JobBroke, OutOfMemory, SpoonError

_log = logging.getLogger(__name__)


# How torch words it when the host's memory is used up: a plain RuntimeError from this allocator.
_HOST_ALLOCATOR = "DefaultCPUAllocator"


def is_out_of_memory(error: Exception) -> bool:
    """True if the device's or the host's memory was too small for what was asked."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _HOST_ALLOCATOR in str(error)


def fail_job(job: OpenJob, error: Exception) -> None:
    """End a job with the stable code of what went wrong.

    Raises: the error itself, if it is the device's own: after that nothing on it works any more.
    """
    if is_out_of_memory(error):
        job.fail(OutOfMemory.code, OutOfMemory().detail)
    elif isinstance(error, torch.AcceleratorError):
        raise error
    elif isinstance(error, SpoonError):
        job.fail(error.code, error.detail)
    else:
        # Unforeseen: the job's owner gets one line, the log has the whole story.
        _log.error("action=job_failed job_id=%s", job.order.job_id, exc_info=error)
        job.fail(JobBroke.code, f"{type(error).__name__}: {error}")
