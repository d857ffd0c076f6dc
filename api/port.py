"""What the HTTP resources need of the bus; `api.bus.Bus` is the real one, the tests have a fake."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from kernel.protocol.client import ApiAsk, BrokerReply, Status

Answer = TypeVar("Answer", bound=BrokerReply)


class BusPort(Protocol):
    """The way to the Manager."""

    def ask(
        self, ask: ApiAsk, expected: type[Answer], key: str | None = None, blobs: Sequence[bytes] = ()
    ) -> Answer:
        """Have something done once, and wait for the answer.

        `key` is the caller's idempotency key; None: a new one. `blobs` travel beside the ask, as they are.
        Raises: the error the Manager refused with; ManagerUnreachable, if it does not answer in 10 s;
        TooManyRequests, if too many callers wait already; BadMessage, if it answers something else.
        """
        ...

    def tell(self, ask: ApiAsk) -> None:
        """Have something done once, and do not wait; never blocks, never raises."""
        ...

    def status(self, timeout_s: float) -> Status:
        """How the Manager is.

        Raises: ManagerUnreachable, if it does not answer in this time.
        """
        ...

    def figures(self) -> "BusFigures":
        """What the metrics show of the bus."""
        ...


class BusFigures(Protocol):
    """Counters since the start, and the questions that are open now."""

    @property
    def asked(self) -> int: ...
    @property
    def resent(self) -> int: ...
    @property
    def given_up(self) -> int: ...
    @property
    def unanswered(self) -> int: ...
