"""Standby workers: processes that have imported an engine's libraries, and wait for a ticket.

Importing takes seconds and is the same for every engine, so it is done in advance. A standby has no key and
is not on the bus: it becomes a worker when it receives a ticket, and the core knows nothing of it, so its
death is no worker's death and no engine is blamed. It ends when its pipe closes, so none outlives the
Manager. A new one is not started while an engine loads, and beside jobs only after a minute, because its
imports take a core for seconds; with little memory available all standbys are dismissed, because an engine
needs it more. One that dies is replaced after pauses that double. Source: adr/0042.
"""

import logging
import math
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kernel.process.log import line

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 600.0
BUSY_S: Final = 60.0
"""How long a start is postponed while jobs run: imports take a core for seconds."""
LOOK_S: Final = 10.0
"""The least time between two looks at the host's memory."""
OWN_BYTES: Final = 512 << 20
"""The most that one needs: starting it must not be what makes memory scarce."""

log = logging.getLogger("manager")


@dataclass(frozen=True, slots=True)
class StandbyTerms:
    """How many are kept, and the memory that must stay available."""

    count: int
    min_free_bytes: int
    """With less memory available on this host, none is kept."""


NONE_AT_ALL: Final = StandbyTerms(0, 0)


@dataclass(frozen=True, slots=True)
class Standby:
    """A process that waits for a ticket at the other end of a pipe."""

    name: str
    process: "subprocess.Popen[bytes]"
    writer: int


Start = Callable[[str], Standby]
"""Starts a standby under this name. Raises: OSError."""


class Standbys:
    """Keeps the number of standbys that its terms allow. Units: monotonic seconds."""

    def __init__(self, terms: StandbyTerms, start: Start, available_bytes: Callable[[], int | None]) -> None:
        self._terms, self._start, self._available_bytes = terms, start, available_bytes
        self._waiting: list[Standby] = []
        self._dismissed: list[Standby] = []
        self._started = 0
        self._pause_s = FIRST_PAUSE_S
        self._look_s = -math.inf
        """When the host's memory may be looked at again."""
        self._short_since_s: float | None = None
        self._timer_s: float | None = None
        self._is_open = terms.count > 0

    @classmethod
    def none(cls) -> "Standbys":
        """For a Manager without standbys."""
        return cls(NONE_AT_ALL, _cannot_start, lambda: None)

    def pids(self) -> list[int]:
        """The process ids of the waiting standbys."""
        return [standby.process.pid for standby in self._waiting]

    def names(self) -> frozenset[str]:
        """The names of the waiting standbys."""
        return frozenset(standby.name for standby in self._waiting)

    def next_deadline_s(self) -> float | None:
        """When `tend` must be called without an event; None: never."""
        return self._timer_s if self._is_open else None

    def is_due(self, now_s: float) -> bool:
        """False if `tend` would do nothing."""
        return self._is_open and now_s >= self._look_s

    def tend(self, now_s: float, *, is_loading: bool, is_busy: bool) -> None:
        """Start a missing standby, or dismiss all if the host's memory is short.

        None is started while an engine is loading, and while jobs run only after BUSY_S.
        """
        if not self.is_due(now_s):
            return
        self._look_s, self._timer_s = now_s + LOOK_S, None
        available = self._available_bytes()
        least = self._terms.min_free_bytes
        if available is not None and available < least:
            self._dismiss_all()
        elif len(self._waiting) < self._terms.count and (available is None or available - OWN_BYTES >= least):
            self._start_when_quiet(now_s, is_loading, is_busy)

    def take(self) -> Standby | None:
        """A live standby, which then belongs to the caller; None, if there is none."""
        while self._waiting:
            standby = self._waiting.pop(0)
            self._look_s = -math.inf
            if standby.process.poll() is None:
                self._pause_s = FIRST_PAUSE_S
                return standby
            self._bury(standby)
        return None

    def poll(self, now_s: float) -> None:
        """Notice standbys that have exited by themselves. Pauses before replacements double."""
        self._dismissed = [gone for gone in self._dismissed if gone.process.poll() is None]
        for standby in [one for one in self._waiting if one.process.poll() is not None]:
            self._waiting.remove(standby)
            self._bury(standby)
            self._put_off(now_s)

    def dismiss(self, standby: Standby) -> None:
        """End a standby that does not wait any more."""
        log.info(line("standby_dismissed", name=standby.name))
        os.close(standby.writer)
        standby.process.kill()
        self._dismissed.append(standby)

    def end(self) -> None:
        """End all standbys, and start no more."""
        self._is_open = False
        self._dismiss_all()

    def _start_when_quiet(self, now_s: float, is_loading: bool, is_busy: bool) -> None:
        if self._short_since_s is None:
            self._short_since_s = now_s
        end_s = self._short_since_s + BUSY_S
        if is_loading or (is_busy and now_s < end_s):
            self._look_s = now_s  # the next event may end the busy period
            self._timer_s = None if is_loading else end_s
            return
        self._started += 1
        name = f"standby-{self._started}"
        try:
            standby = self._start(name)
        except OSError as error:
            log.warning(line("standby_not_started", name=name, error=error))
            self._put_off(now_s)
            return
        log.info(line("standby_started", name=name, pid=standby.process.pid))
        self._waiting.append(standby)
        self._look_s, self._short_since_s = now_s, None

    def _put_off(self, now_s: float) -> None:
        self._look_s = self._timer_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _dismiss_all(self) -> None:
        while self._waiting:
            self.dismiss(self._waiting.pop())

    def _bury(self, standby: Standby) -> None:
        os.close(standby.writer)
        log.warning(line("standby_exited", name=standby.name, code=standby.process.returncode))


def _cannot_start(name: str) -> Standby:
    raise OSError(f"{name} is not configured")
