"""The audit lines in the log: who was refused, and what admins have done.

Anybody can cause refusals, so their lines are limited: some at once, then one a second; the next line says
how many there were without one. No line has a query or a header, which may be secret.
"""

import logging
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from kernel.process.log import line
from kernel.protocol.ids import KeyId

AT_ONCE: Final = 60
LINES_PER_S: Final = 1.0
MAX_PATH: Final = 200
REFUSALS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})

_log: Final = logging.getLogger("spoon.api.audit")


class Refusals:
    """Writes the lines of refusals. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left, self._at_s = float(AT_ONCE), clock()
        self._unwritten = 0

    def note(
        self, status: int, code: str, method: str, path: str, address: str, key_id: KeyId | None
    ) -> None:
        """Write the line of a refusal, if there is room; a response with another status has none."""
        if status not in REFUSALS:
            return
        with self._lock:
            now_s = self._clock()
            self._left = min(AT_ONCE, self._left + (now_s - self._at_s) * LINES_PER_S)
            self._at_s = now_s
            if self._left < 1:
                self._unwritten += 1
                return
            self._left -= 1
            unwritten, self._unwritten = self._unwritten, 0
        _log.warning(
            line(
                "refused",
                status=status,
                code=code,
                method=method[:MAX_PATH],
                path=path[:MAX_PATH],
                address=address,
                **({} if key_id is None else {"key_id": key_id}),
                **({"unwritten": unwritten} if unwritten else {}),
            )
        )


refusals: Final = Refusals()
"""Those of this process."""


def note_act(operation: str, path: str, address: str, key_id: KeyId | None) -> None:
    """Write that an admin has changed something."""
    who = "" if key_id is None else key_id
    _log.info(line("admin_act", operation=operation, path=path[:MAX_PATH], address=address, key_id=who))
