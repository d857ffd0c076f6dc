"""The GPUs that torch sees, with their free memory, without a context on any of them.

A context costs half a gigabyte on each device, so free memory is asked of NVML, by the device's UUID: NVML
numbers all devices of the host, torch those that CUDA_VISIBLE_DEVICES leaves.
"""

from contextlib import suppress

import pynvml
import torch

from kernel.protocol.worker import WorkerDevice


def seen_devices() -> tuple[WorkerDevice, ...]:
    """Every CUDA device that this process can use. Without NVML all memory counts as free."""
    if not torch.cuda.is_available():
        return ()
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
    return tuple(_seen(index) for index in range(torch.cuda.device_count()))


def _seen(index: int) -> WorkerDevice:
    found = torch.cuda.get_device_properties(index)
    total_bytes, free_bytes = found.total_memory, found.total_memory
    with suppress(pynvml.NVMLError):
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{found.uuid}")
        free_bytes = int(pynvml.nvmlDeviceGetMemoryInfo(handle).free)
    return WorkerDevice(
        device=f"cuda:{index}",
        name=found.name,
        total_bytes=total_bytes,
        free_bytes=min(free_bytes, total_bytes),
        capability=f"{found.major}.{found.minor}",
    )
