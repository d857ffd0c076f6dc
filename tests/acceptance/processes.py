"""The processes of one installation, found by a mark in their environment. Source: proc(5)."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from conf.keys import ENVIRONMENT_PREFIX

MARK: Final = "ACCEPTANCE_FOLDER"
"""An environment variable that children inherit: its value is the folder of their installation."""
MANAGER: Final = "kernel.main"
WORKER: Final = "engine_worker.main"
API: Final = "api.main"
_GONE: Final = ("Z", "X")
"""States of a process that has ended and only waits for its parent to look."""


@dataclass(frozen=True, slots=True)
class Found:
    """A living process."""

    pid: int
    module: str
    """What Python runs: MANAGER, WORKER or API."""

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a process that has ended meanwhile is no error."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return


def environment(folder: Path) -> dict[str, str]:
    """What a process of this installation gets: the mark, and none of the user's own settings."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    return plain | {MARK: str(folder)}


def processes_of(folder: Path, module: str | None = None) -> list[Found]:
    """The living processes of an installation, oldest first; or only those that run this module."""
    found = sorted(_living(folder), key=lambda one: one.pid)
    return [one for one in found if module in (None, one.module)]


def _living(folder: Path) -> Iterator[Found]:
    mark = f"{MARK}={folder}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                words = (entry / "cmdline").read_text().split("\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            else:
                continue
        except (OSError, IndexError):
            continue  # it has ended while we looked
        if state not in _GONE and "-m" in words:
            yield Found(int(entry.name), words[words.index("-m") + 1])
