"""What an error means: for its job alone, or for the device."""

import pytest
import torch

from engine_worker.engine.runtime.failures import is_of_the_device, is_out_of_memory

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        torch.AcceleratorError("CUDA error: out of memory"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_a_lack_of_memory_is_known_in_whatever_words_and_breaks_no_device(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_of_the_device(error)


def test_another_error_of_the_device_is_no_lack_of_memory() -> None:
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    assert is_of_the_device(error)
    assert not is_out_of_memory(error)


def test_an_error_of_a_job_is_neither() -> None:
    error = RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")
    assert not is_of_the_device(error)
    assert not is_out_of_memory(error)
