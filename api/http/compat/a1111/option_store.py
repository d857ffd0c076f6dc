"""Keeps the options of each caller in a small file of the API's own.

They decide which checkpoint a client's next image has, so they have to outlive a restart; but nothing in the
Manager depends on them, and losing them costs a click. So they are no rows of its database (adr/0060). One
process writes the file, always as a whole: under another name, synced, then renamed.
"""

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from api.http.compat.a1111.answers import Options
from kernel.process.log import line
from kernel.protocol.errors import DiskFull
from kernel.protocol.type_info import analyzed

FILE_NAME: Final = "a1111_options.json"
MOST_CALLERS: Final = 1_000
"""Of more, those go that have not changed theirs for the longest time."""
MAX_BYTES: Final = 4 << 20
_PRIVATE: Final = 0o600

_log = logging.getLogger("spoon.api.http")


class OptionFile:
    """The options of all callers. Thread-safe."""

    def __init__(self, file: Path) -> None:
        """A file that cannot be read counts as empty: that must not keep the API from starting."""
        self._file = file
        self._lock = threading.Lock()
        self._options = _read(file)

    def load(self, caller: str) -> Options:
        """Those that a caller has set, else the defaults."""
        return self._options.get(caller, Options())

    def save(self, caller: str, options: Options) -> None:
        """Keep them, durably. Raises: DiskFull, if they cannot be written: then nothing has changed."""
        with self._lock:
            changed = {name: one for name, one in self._options.items() if name != caller}
            changed[caller] = options
            kept = dict(list(changed.items())[-MOST_CALLERS:])
            try:
                _write(self._file, msgspec.json.encode(kept))
            except OSError as error:
                raise DiskFull(f"cannot store the options: {error.strerror}") from error
            self._options = kept


def _read(file: Path) -> dict[str, Options]:
    try:
        with file.open("rb") as stream:
            return msgspec.json.decode(stream.read(MAX_BYTES), type=analyzed(dict[str, Options]))
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.warning(line("options_lost", file=file, reason=str(error)))
        return {}


def _write(file: Path, data: bytes) -> None:
    part = file.with_name(f"{file.name}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _PRIVATE)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
