"""The rhythm of a session: when to say Hello or Ping, and when to hold the Manager for gone."""

from dataclasses import dataclass

from kernel.protocol.worker import Welcome


@dataclass(frozen=True, slots=True)
class Patience:
    """The times that the worker decides on itself; what the Manager decides on comes with Welcome."""

    hello_every_s: float = 1.0
    give_up_s: float = 30.0
    """A Manager that starts up answers well within this; no worker waits for ever."""
    progress_every_s: float = 0.25
    """At most four reports of progress a second (ASB/2)."""
    preview_every_s: float = 0.5
    """At most two previews of a job a second (ASB/2)."""
    resend_s: float = 15.0
    """An image that nobody acknowledged is sent again after this; each next time after twice as long."""


class Heartbeat:
    """Knows when each side last spoke. Times are monotonic seconds."""

    def __init__(self, patience: Patience, now: float) -> None:
        self._patience = patience
        self._opened_at = now
        self._welcome: Welcome | None = None
        self._heard_at = now
        self._sent_at = now
        self._asked_at = now
        """When Hello or Ping was last said: the messages that want an answer."""

    def welcomed(self, welcome: Welcome) -> None:
        """From now on the Manager's own times hold."""
        self._welcome = welcome

    def heard(self, now: float) -> None:
        """The Manager said something."""
        self._heard_at = now

    def sent(self, now: float) -> None:
        """Something was said to the Manager."""
        self._sent_at = now

    def asked(self, now: float) -> None:
        """Hello or Ping was said."""
        self._asked_at = now
        self._sent_at = now

    def ask_at(self) -> float:
        """When the next Hello or Ping is due.

        Pings are for both directions: they tell that we live when nothing else does, and they make
        the Manager tell that it lives when all that we send needs no answer.
        """
        if self._welcome is None:
            return self._asked_at + self._patience.hello_every_s
        quiet_since = max(self._asked_at, min(self._sent_at, self._heard_at))
        return quiet_since + self._welcome.heartbeat_s

    def gone_at(self) -> float:
        """When the Manager is held for gone, unless it says something before."""
        if self._welcome is None:
            return self._opened_at + self._patience.give_up_s
        return self._heard_at + self._welcome.silence_s
