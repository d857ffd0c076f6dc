"""The devices that engines can run on, and their memory: NVIDIA's through NVML, else this host's own."""

import os
import time
from pathlib import Path
from typing import Final

import pynvml

from kernel.protocol.client import DeviceStatus

FRESH_S: Final = 1.0


class Devices:
    """Every GPU, or the CPU on a host without one; looked at anew once a second at most.

    NVML is opened once: opening it takes milliseconds, in which the broker would stand still.
    """

    def __init__(self) -> None:
        try:
            pynvml.nvmlInit()
            self._gpus = int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError:
            self._gpus = 0
        self._seen: tuple[DeviceStatus, ...] = ()
        self._seen_at_s = -FRESH_S

    def read(self) -> tuple[DeviceStatus, ...]:
        """What there is now, or was less than a second ago. A GPU that does not answer is left out."""
        now_s = time.monotonic()
        if now_s - self._seen_at_s >= FRESH_S:
            gpus = [gpu for index in range(self._gpus) if (gpu := _gpu(index)) is not None]
            self._seen = tuple(gpus) if self._gpus else (_cpu(),)
            self._seen_at_s = now_s
        return self._seen


def _gpu(index: int) -> DeviceStatus | None:
    try:
        return _read_gpu(index)
    except pynvml.NVMLError:
        return None


def _read_gpu(index: int) -> DeviceStatus:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return DeviceStatus(
        device=f"cuda:{index}",
        name=str(pynvml.nvmlDeviceGetName(handle)),
        total_bytes=int(memory.total),
        free_bytes=int(memory.free),
    )


def _cpu() -> DeviceStatus:
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    total_bytes = page_bytes * os.sysconf("SC_PHYS_PAGES")
    free_bytes = _available_bytes(Path("/proc/meminfo"))
    return DeviceStatus(
        device="cpu",
        name="CPU",
        total_bytes=total_bytes,
        free_bytes=page_bytes * os.sysconf("SC_AVPHYS_PAGES") if free_bytes is None else free_bytes,
    )


def _available_bytes(meminfo: Path) -> int | None:
    """What the kernel thinks can be had without swapping. Source: proc_meminfo(5), MemAvailable."""
    if not meminfo.exists():
        return None
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
