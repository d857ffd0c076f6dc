"""What the HTTP resources need of the bus; `api.bus.Bus` is the real one, the tests have a fake."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from api.session import Outcome
from kernel.protocol.client import ApiAsk, BrokerReply, Status
from kernel.protocol.errors import BadMessage, SpoonError

Answer = TypeVar("Answer", bound=BrokerReply)


def answer_in(outcome: Outcome, expected: type[Answer]) -> Answer:
    """The answer, if it is one of the expected kind.

    Raises: the error that it is; BadMessage, if it is something else.
    """
    if isinstance(outcome, SpoonError):
        raise outcome
    if not isinstance(outcome, expected):
        raise BadMessage(f"the Manager replied with {type(outcome).__name__} instead of {expected.__name__}")
    return outcome


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

    def ask_later(self, ask: ApiAsk, key: str | None, then: Callable[[Outcome], None]) -> None:
        """Have something done once, and do not wait: `then` hears the answer or the error, at once or in the
        thread of the bus, which it must not hold up.

        Raises: TooManyRequests, if too many callers wait already; ManagerUnreachable, if it has been silent.
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
