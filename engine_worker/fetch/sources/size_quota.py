"""Limits a download by the maximum model size and by free disk space."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kernel.protocol.errors import DiskFull, DownloadFailed


class TooLarge(DownloadFailed):
    """The model is larger than models.max_size allows."""


@dataclass(frozen=True, slots=True)
class SizeQuota:
    """The limits of one installation. Units: bytes."""

    max_bytes: int
    min_free_bytes: int
    free_bytes: Callable[[], int]

    def check_size(self, size_bytes: int) -> None:
        """Raises: TooLarge, if a model may not be this large."""
        if size_bytes > self.max_bytes:
            raise TooLarge(f"the model has more than {self.max_bytes} bytes, the limit of models.max_size")

    def check_disk(self, missing_bytes: int = 0) -> None:
        """Raises: DiskFull, if this many more bytes would leave less than the minimum free."""
        free = self.free_bytes()
        if free - missing_bytes < self.min_free_bytes:
            raise DiskFull(
                f"the disk of models.folder has {free} bytes free: {missing_bytes} more would not leave "
                f"the {self.min_free_bytes} of images.min_free; free some space, then retry"
            )


def free_below(folder: Path) -> Callable[[], int]:
    """A function that returns the free bytes of this folder's disk."""
    return lambda: shutil.disk_usage(folder).free
