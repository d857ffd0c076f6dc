"""Standby workers: processes that have imported what an engine needs, and wait for the next one's ticket.

Importing takes seconds and is the same for every engine. A standby holds no key and has no place on the bus:
it is no worker before it is handed a ticket, and its death is nobody's but its own. The core knows nothing
of it. adr/0042
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
"""So long it is put off to start one beside jobs: its imports take a core for seconds."""
LOOK_S: Final = 10.0
"""The memory of the host is not looked at more often."""
OWN_BYTES: Final = 512 << 20
"""What one takes at most: starting it must not be what makes memory scarce."""

log = logging.getLogger("manager")


@dataclass(frozen=True, slots=True)
class StandbyTerms:
    """How many are kept, and what must be left for others."""

    count: int
    min_free_bytes: int
    """With less memory available on this host there are none."""


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
    """Keeps as many as its terms allow. Units: monotonic seconds."""

    def __init__(self, terms: StandbyTerms, start: Start, available_bytes: Callable[[], int | None]) -> None:
        self._terms, self._start, self._available_bytes = terms, start, available_bytes
        self._waiting: list[Standby] = []
        self._dismissed: list[Standby] = []
        self._started = 0
        self._pause_s = FIRST_PAUSE_S
        self._look_s = -math.inf
        """Nothing is to be looked at before."""
        self._short_since_s: float | None = None
        self._timer_s: float | None = None
        self._is_open = terms.count > 0

    @classmethod
    def none(cls) -> "Standbys":
        """For a Manager without any."""
        return cls(NONE_AT_ALL, _cannot_start, lambda: None)

    def pids(self) -> list[int]:
        """The processes that wait."""
        return [standby.process.pid for standby in self._waiting]

    def names(self) -> frozenset[str]:
        """What those that wait are called."""
        return frozenset(standby.name for standby in self._waiting)

    def next_deadline_s(self) -> float | None:
        """When `tend` is to be called though nothing has happened; None: never."""
        return self._timer_s if self._is_open else None

    def is_due(self, now_s: float) -> bool:
        """False, if `tend` would find nothing to do."""
        return self._is_open and now_s >= self._look_s

    def tend(self, now_s: float, *, is_loading: bool, is_busy: bool) -> None:
        """Start one if one is missing, or dismiss all if the host has no memory for them.

        None is started while an engine is loading, and while jobs are made only if that takes too long.
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
        """One that lives and is from now on the caller's; None, if there is none."""
        while self._waiting:
            standby = self._waiting.pop(0)
            self._look_s = -math.inf
            if standby.process.poll() is None:
                self._pause_s = FIRST_PAUSE_S
                return standby
            self._bury(standby)
        return None

    def poll(self, now_s: float) -> None:
        """Notice those that have ended by themselves. The next one comes after a pause that doubles."""
        self._dismissed = [gone for gone in self._dismissed if gone.process.poll() is None]
        for standby in [one for one in self._waiting if one.process.poll() is not None]:
            self._waiting.remove(standby)
            self._bury(standby)
            self._put_off(now_s)

    def dismiss(self, standby: Standby) -> None:
        """End one that is waiting no more."""
        log.info(line("standby_dismissed", name=standby.name))
        os.close(standby.writer)
        standby.process.kill()
        self._dismissed.append(standby)

    def end(self) -> None:
        """Let all go, and start none any more."""
        self._is_open = False
        self._dismiss_all()

    def _start_when_quiet(self, now_s: float, is_loading: bool, is_busy: bool) -> None:
        if self._short_since_s is None:
            self._short_since_s = now_s
        end_s = self._short_since_s + BUSY_S
        if is_loading or (is_busy and now_s < end_s):
            self._look_s = now_s  # whatever happens next may bring quiet
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
