"""NVIDIA's GPUs, as NVML measures them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import pynvml

from kernel.core.events import DeviceFact
from kernel.protocol.ids import WorkerId
from kernel.protocol.status import DeviceStatus


class _GpuProcess(Protocol):
    """A process as NVML reports it."""

    pid: int
    usedGpuMemory: int | None  # noqa: N815 - its name in NVML


class NvidiaGpus:
    """NVML is opened once: opening it takes milliseconds, during which the broker would stand still."""

    def __init__(self) -> None:
        try:
            pynvml.nvmlInit()
            self.count = int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError:
            self.count = 0

    def measure(self, pids: Mapping[WorkerId, int]) -> list[DeviceFact]:
        """The GPUs now. One that does not answer is left out."""
        found = []
        for index in range(self.count):
            with suppress(pynvml.NVMLError):
                found.append(_measure(index, pids))
        return found


def _measure(index: int, pids: Mapping[WorkerId, int]) -> DeviceFact:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    status = DeviceStatus(
        device=f"cuda:{index}",
        name=str(pynvml.nvmlDeviceGetName(handle)),
        total_bytes=int(memory.total),
        free_bytes=int(memory.free),
        capability=_capability(index),
    )
    # In a container NVML's process ids are those of another namespace, and some systems report no sizes: then
    # the worker's own report is used.
    used = {process.pid: process.usedGpuMemory for process in _processes(index)}
    held = {worker_id: int(size) for worker_id, pid in pids.items() if (size := used.get(pid)) is not None}
    return DeviceFact(status, held)


def _capability(index: int) -> str | None:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    except pynvml.NVMLError:
        return None
    return f"{major}.{minor}"


def _processes(index: int) -> Sequence[_GpuProcess]:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        found: Sequence[_GpuProcess] = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except pynvml.NVMLError:
        return ()
    return found
