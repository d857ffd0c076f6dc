"""The CPU as a device that engines can run on: the host's memory, and what processes hold of it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from kernel.core.events import DeviceFact
from kernel.protocol.ids import WorkerId
from kernel.protocol.status import DeviceStatus


def measure(pids: Mapping[WorkerId, int], spare_pids: Sequence[int]) -> DeviceFact:
    """The CPU now. The memory of `spare_pids` counts as free."""
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


def _own_bytes(statm: Path) -> int | None:
    """The bytes that ending the process would free: resident and not file-backed. Source:
    proc_pid_statm(5)."""
    try:
        _, resident, shared, *_ = statm.read_text().split()
    except (OSError, ValueError):
        return None
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
