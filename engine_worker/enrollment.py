"""What a worker of a pool says first: who it is, and which devices its engine can use."""

import os
import socket
from pathlib import Path
from typing import Final

from engine_worker.preload import EngineImports
from kernel.protocol.errors import NotInstalled
from kernel.protocol.join import Join
from kernel.protocol.version import VERSION
from kernel.protocol.worker import Enroll, WorkerDevice

_MEMINFO: Final = Path("/proc/meminfo")


def enroll(join: Join, imports: EngineImports | None) -> Enroll:
    """What a worker of a pool says first. Its devices are those that its engine can use.

    Raises: NotInstalled.
    """
    return Enroll(
        token=join.token,
        version=VERSION,
        pid=os.getpid(),
        host=socket.gethostname(),
        devices=(own_cpu(),) if join.is_fake else _devices(imports),
        launch=join.launch,
    )


def _devices(imports: EngineImports | None) -> tuple[WorkerDevice, ...]:
    try:
        (imports or EngineImports()).wait()
        from engine_worker.engine.runtime.seen_devices import seen_devices
    except ModuleNotFoundError as error:
        raise missing(error) from error
    return (*seen_devices(), own_cpu())


def missing(error: ModuleNotFoundError) -> NotInstalled:
    """The error for a package that is not there."""
    hint = "install automatic-spoon with its worker extra"
    return NotInstalled(f"the package {error.name} is missing: {hint}")


def own_cpu(meminfo: Path = _MEMINFO) -> WorkerDevice:
    """The CPU with the memory that is there without swapping. Source: proc_meminfo(5), MemAvailable."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    total_bytes = page_bytes * os.sysconf("SC_PHYS_PAGES")
    free_bytes = page_bytes * os.sysconf("SC_AVPHYS_PAGES")
    for line in meminfo.read_text().splitlines() if meminfo.exists() else ():
        if line.startswith("MemAvailable:"):
            free_bytes = int(line.split()[1]) * 1024
    return WorkerDevice(device="cpu", name="CPU", total_bytes=total_bytes, free_bytes=free_bytes)
