"""One Manager per data folder: an exclusive lock that the kernel releases with the process."""

import fcntl
import os
from pathlib import Path
from typing import Final

from kernel.protocol.errors import AlreadyRunning, unusable_folder

LOCK_FILE: Final = "manager.lock"
_MODE: Final = 0o600


class FolderLock:
    """Held from construction until `release` or the end of the process."""

    def __init__(self, folder: Path, name: str = LOCK_FILE) -> None:
        """Take the lock, and write the holder's process id into it.

        Raises: AlreadyRunning, naming the holder's process id; BadConfiguration, if the file cannot be
        created.
        """
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            self._file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        except OSError as error:
            raise unusable_folder(folder, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 64, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise AlreadyRunning(
                f"{folder} is in use by a Manager with process id {holder or 'unknown'}: "
                "run `spoon stop`, or configure another folder"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._file)
