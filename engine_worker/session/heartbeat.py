"""The heartbeat of a session: when to send Hello or Ping, and when the Manager counts as gone."""

from dataclasses import dataclass

from kernel.protocol.worker import Welcome


@dataclass(frozen=True, slots=True)
class Patience:
    """Intervals that the worker decides; those that the Manager decides come with Welcome."""

    hello_every_s: float = 1.0
    give_up_s: float = 30.0
    """A Manager that is starting answers well within this time; no worker waits for ever."""
    progress_every_s: float = 0.25
    """At most four reports of progress a second (ASB/2)."""
    preview_every_s: float = 0.5
    """At most two previews of a job a second (ASB/2)."""
    resend_s: float = 15.0
    """An unacknowledged image is sent again after this time; each further time after twice as long."""


class Heartbeat:
    """Records when each side last sent a message. Units: monotonic seconds."""

    def __init__(self, patience: Patience, now: float) -> None:
        self._patience = patience
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
        """Hello or Ping was sent."""
        self._asked_at = now
        self._sent_at = now

    def ask_at(self) -> float:
        """When the next Hello or Ping is due.

        A Ping shows the Manager that the worker lives while it has nothing else to send, and makes the
        Manager show the same when our messages need no reply.
        """
        if self._welcome is None:
            return self._asked_at + self._patience.hello_every_s
        quiet_since = max(self._asked_at, min(self._sent_at, self._heard_at))
        return quiet_since + self._welcome.heartbeat_s

    def gone_at(self) -> float:
        """When the Manager counts as gone, unless it sends a message before."""
        if self._welcome is None:
            return self._opened_at + self._patience.give_up_s
        return self._heard_at + self._welcome.silence_s
