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
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    hidden: dict[int, tuple[Found, int]] = {}
    for pid in pids:
        try:
            (found, parent_pid), is_marked = _look(pid), _is_marked(pid, folder)
        except (OSError, IndexError):
            continue  # it has ended while we looked
        if found is not None and is_marked:
            yield found
        elif found is not None and is_marked is None:
            hidden[pid] = found, parent_pid
    ours = {pid for pid in hidden if _names(pid, folder)}
    yield from (found for pid, (found, parent_pid) in hidden.items() if {pid, parent_pid} & ours)


def _look(pid: int) -> tuple[Found | None, int]:
    """What a process runs, if it lives and runs a module, and which one has started it."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    state, parent_pid, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    is_module = state not in _GONE and "-m" in words
    return Found(pid, words[words.index("-m") + 1]) if is_module else None, int(parent_pid)


def _is_marked(pid: int, folder: Path) -> bool | None:
    """None for a process that hides its environment from all but root (kernel/process/startup.py)."""
    try:
        return f"{MARK}={folder}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except PermissionError:
        return None


def _names(pid: int, folder: Path) -> bool:
    """Does its command line name a file of the installation, as those of the Manager and the API do?"""
    try:
        return f"{folder}/" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
