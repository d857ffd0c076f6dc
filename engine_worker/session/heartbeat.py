"""The heartbeat of a session: when to send Hello, Enroll or Ping, and when the Manager counts as gone."""

import math
from dataclasses import dataclass

from kernel.protocol.worker import Welcome


@dataclass(frozen=True, slots=True)
class Patience:
    """Intervals that the worker decides; those that the Manager decides come with Welcome."""

    hello_every_s: float = 1.0
    give_up_s: float = 30.0
    """A Manager that is starting answers well within this time; only workers of pools wait for ever."""
    longest_enroll_s: float = 30.0
    """A worker of a pool doubles its pause up to this."""
    spread: float = 0.5
    """0 to 1, another one for each worker: so that those of a pool do not all come back at once."""
    progress_every_s: float = 0.25
    """At most four reports of progress a second (ASB/2)."""
    preview_every_s: float = 0.5
    """At most two previews of a job a second (ASB/2)."""
    resend_s: float = 15.0
    """An unacknowledged image is sent again after this time; each further time after twice as long."""


class Heartbeat:
    """Records when each side last sent a message. Units: monotonic seconds."""

    def __init__(self, patience: Patience, now: float, *, is_patient: bool = False) -> None:
        """`is_patient`: it is that of a worker of a pool, which asks less and less often, and for ever."""
        self._patience = patience
        self._is_patient = is_patient
        self._asked = 0
        self._opened_at = now
        self._welcome: Welcome | None = None
        self._heard_at = now
        self._sent_at = now
        self._asked_at = now
        """When Hello or Ping was last sent: the messages that ask for a reply."""

    def welcomed(self, welcome: Welcome) -> None:
        """Use the Manager's intervals from now on."""
        self._welcome = welcome

    def heard(self, now: float) -> None:
        """The Manager sent a message."""
        self._heard_at = now

    def sent(self, now: float) -> None:
        """A message was sent to the Manager."""
        self._sent_at = now

    def asked(self, now: float) -> None:
        """Hello, Enroll or Ping was sent."""
        self._asked += 1
        self._asked_at = now
        self._sent_at = now

    def answered(self, now: float) -> float | None:
        """The time since the last Ping. Units: ms. None, if this cannot be its answer."""
        return None if self._asked_at > now else round((now - self._asked_at) * 1000, 3)

    def ask_at(self) -> float:
        """When the next Hello, Enroll or Ping is due.

        A Ping shows the Manager that the worker lives while it has nothing else to send, and makes the
        Manager show the same when our messages need no reply.
        """
        if self._welcome is None:
            return self._asked_at + self._pause_s()
        quiet_since = max(self._asked_at, min(self._sent_at, self._heard_at))
        return quiet_since + self._welcome.heartbeat_s

    def gone_at(self) -> float:
        """When the Manager counts as gone, unless it sends a message before."""
        if self._welcome is None:
            return math.inf if self._is_patient else self._opened_at + self._patience.give_up_s
        return self._heard_at + self._welcome.silence_s

    def _pause_s(self) -> float:
        """The pause before the next Hello or Enroll: always the same, or doubled each time and spread."""
        first_s, longest_s = self._patience.hello_every_s, self._patience.longest_enroll_s
        if not self._is_patient:
            return first_s
        doubled_s = min(first_s * float(1 << min(self._asked, 16)), longest_s)
        return doubled_s * (0.5 + self._patience.spread)
