"""The devices that engines can run on, with their free memory and the memory that our workers hold."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import pynvml

from kernel.core.events import DeviceFact
from kernel.protocol.ids import WorkerId
from kernel.protocol.status import DeviceStatus

FRESH_S: Final = 1.0

Pids = Callable[[], Mapping[WorkerId, int]]
"""The process ids of this host's workers."""


class _GpuProcess(Protocol):
    """A process as NVML reports it."""

    pid: int
    usedGpuMemory: int | None  # noqa: N815 - its name in NVML


class Devices:
    """Every GPU, then the CPU; measured at most once a second.

    NVML is opened once: opening it takes milliseconds, during which the broker would stand still.
    """

    def __init__(self, pids: Pids, spare_pids: Callable[[], Sequence[int]] = tuple) -> None:
        """`spare_pids`: standby processes, whose memory counts as free because the next worker will be one of
        them."""
        try:
            pynvml.nvmlInit()
            self._gpus = int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError:
            self._gpus = 0
        self._pids, self._spare_pids = pids, spare_pids
        self._seen: tuple[DeviceFact, ...] = ()
        self._seen_at_s = -FRESH_S

    def read(self) -> tuple[DeviceFact, ...]:
        """The devices now, or less than a second ago. A GPU that does not answer is left out."""
        now_s = time.monotonic()
        if now_s - self._seen_at_s >= FRESH_S:
            pids = self._pids()
            gpus = [gpu for index in range(self._gpus) if (gpu := _gpu(index, pids)) is not None]
            self._seen = (*gpus, _cpu(pids, self._spare_pids()))
            self._seen_at_s = now_s
        return self._seen


def _gpu(index: int, pids: Mapping[WorkerId, int]) -> DeviceFact | None:
    try:
        return _read_gpu(index, pids)
    except pynvml.NVMLError:
        return None


def _read_gpu(index: int, pids: Mapping[WorkerId, int]) -> DeviceFact:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    status = DeviceStatus(
        device=f"cuda:{index}",
        name=str(pynvml.nvmlDeviceGetName(handle)),
        total_bytes=int(memory.total),
        free_bytes=int(memory.free),
    )
    # In a container NVML's process ids are those of another namespace, and some systems report no sizes: then
    # the worker's own report is used.
    used = {process.pid: process.usedGpuMemory for process in _processes(index)}
    held = {worker_id: int(size) for worker_id, pid in pids.items() if (size := used.get(pid)) is not None}
    return DeviceFact(status, held)


def _processes(index: int) -> Sequence[_GpuProcess]:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        found: Sequence[_GpuProcess] = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except pynvml.NVMLError:
        return ()
    return found


def _cpu(pids: Mapping[WorkerId, int], spare_pids: Sequence[int]) -> DeviceFact:
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    total_bytes = page_bytes * os.sysconf("SC_PHYS_PAGES")
    free_bytes = available_bytes()
    if free_bytes is None:
        free_bytes = page_bytes * os.sysconf("SC_AVPHYS_PAGES")
    spare_bytes = sum(_own_bytes(Path(f"/proc/{pid}/statm")) or 0 for pid in spare_pids)
    status = DeviceStatus(
        device="cpu",
        name="CPU",
        total_bytes=total_bytes,
        free_bytes=min(free_bytes + spare_bytes, total_bytes),
    )
    sizes = {worker_id: _own_bytes(Path(f"/proc/{pid}/statm")) for worker_id, pid in pids.items()}
    return DeviceFact(status, {worker_id: size for worker_id, size in sizes.items() if size is not None})


def _own_bytes(statm: Path) -> int | None:
    """The bytes that ending the process would free: resident and not file-backed. Source:
    proc_pid_statm(5)."""
    try:
        _, resident, shared, *_ = statm.read_text().split()
    except (OSError, ValueError):
        return None
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """The kernel's estimate of memory available without swapping; None, if it has none.

    Source: proc_meminfo(5), MemAvailable.
    """
    if not meminfo.exists():
        return None
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
