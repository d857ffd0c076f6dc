"""Maps an exception to the error of the job in which it was raised."""

import logging
from typing import Final

import torch

from engine_worker.engine.runtime.open_job import OpenJob
from kernel.process.log import line
from kernel.protocol.errors import JobBroke, OutOfMemory, SpoonError

_log = logging.getLogger(__name__)


# Messages of out-of-memory errors without a class of their own: from torch's host allocator, from CUDA for
# memory that torch does not manage (kernels, pinned copies), and from CUDA's libraries.
_WORDINGS: Final = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)


def is_out_of_memory(error: Exception) -> bool:
    """True if the device or the host had too little memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(wording in str(error) for wording in _WORDINGS)


def is_of_the_device(error: Exception) -> bool:
    """True if the device itself failed, after which nothing works on it any more. Running out of memory does
    not count."""
    return isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error)


def fail_job(job: OpenJob, error: Exception) -> None:
    """End a job with the stable error code of an exception.

    Raises: the exception itself, if the device failed, because no other job can continue either.
    """
    if is_out_of_memory(error):
        job.fail(OutOfMemory.code, OutOfMemory().detail)
    elif is_of_the_device(error):
        raise error
    elif isinstance(error, SpoonError):
        job.fail(error.code, error.detail)
    else:
        # An unexpected error: the job's owner gets one line, the log has the traceback.
        _log.error(line("job_failed", job_id=job.order.job_id), exc_info=error)
        job.fail(
            JobBroke.code, f"unexpected engine error ({type(error).__name__}: {error}); see the worker log"
        )
