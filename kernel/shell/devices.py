"""The devices that engines can run on, and their memory: NVIDIA's through NVML, else this host's own."""

import os
from pathlib import Path

import pynvml

from kernel.protocol.client import DeviceStatus


def read_devices() -> tuple[DeviceStatus, ...]:
    """Every GPU, or the CPU on a host without one."""
    return _gpus() or (_cpu(),)


def _gpus() -> tuple[DeviceStatus, ...]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_gpu(index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int) -> DeviceStatus:
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
