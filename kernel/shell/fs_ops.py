"""The primitive file operations: in tests, each may fail, and each may be the last."""

import os
import shutil
from pathlib import Path

from kernel.protocol.codec import Frame


class FileSystem:
    """The real file system. A test's counts the operations, and fails or ends at any of them. All raise
    OSError."""

    def write(self, descriptor: int, data: Frame) -> None:
        """Write all bytes."""
        view = memoryview(data).cast("B")
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        """Make a file's bytes or a folder's names durable. Source: fsync(2), NOTES."""
        os.fsync(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def unlink(self, file: Path) -> None:
        """Remove a file, if it exists."""
        file.unlink(missing_ok=True)

    def remove_tree(self, folder: Path) -> None:
        """Remove a folder with all that is in it."""
        shutil.rmtree(folder)


def sync_folder(folder: Path, disk: FileSystem) -> None:
    """Make the names in a folder durable.

    Raises: OSError.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        disk.sync(descriptor)
    finally:
        os.close(descriptor)
