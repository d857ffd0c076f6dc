"""Free space on the disks of the storage folders."""

import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kernel.core.events import DiskSwept
from kernel.process.log import line

log = logging.getLogger("manager")


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """The folders that jobs write to, and the models folder."""

    work: tuple[Path, ...]
    models: Path

    def look(self) -> DiskSwept:
        """Measure the free space. Units: bytes."""
        return DiskSwept(_least_free(self.work), models_free_bytes=_least_free((self.models,)))


def _least_free(folders: Iterable[Path]) -> int:
    return min(map(_free_bytes, folders))


def _free_bytes(folder: Path) -> int:
    """Free bytes; 0 for a folder that cannot be read, as when its disk is not mounted: that may pass."""
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        log.warning(line("disk_unreadable", folder=folder, reason=error.strerror))
        return 0
