"""The bus interface that the HTTP resources need; `api.bus.Bus` implements it, and tests have a fake."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from api.session import Outcome
from kernel.protocol.client import ApiAsk, BrokerReply
from kernel.protocol.errors import BadMessage, SpoonError
from kernel.protocol.status import Status

Answer = TypeVar("Answer", bound=BrokerReply)


def answer_in(outcome: Outcome, expected: type[Answer]) -> Answer:
    """The reply, if it is of the expected type.

    Raises: the error that it is; BadMessage, if it is something else.
    """
    if isinstance(outcome, SpoonError):
        raise outcome
    if not isinstance(outcome, expected):
        raise BadMessage(f"the Manager replied with {type(outcome).__name__} instead of {expected.__name__}")
    return outcome


class BusPort(Protocol):
    """The connection to the Manager."""

    def ask(
        self, ask: ApiAsk, expected: type[Answer], key: str | None = None, blobs: Sequence[bytes] = ()
    ) -> Answer:
        """Send a command that is carried out once, and wait for the reply.

        `key` is the caller's idempotency key; None: a new one. `blobs` are sent with the ask, unchanged.

        Raises: the error the Manager refused with; ManagerUnreachable, if it does not answer in 10 s;
        TooManyRequests, if too many callers wait already; BadMessage, for an unexpected reply.
        """
        ...

    def ask_later(self, ask: ApiAsk, key: str | None, then: Callable[[Outcome], None]) -> None:
        """Have a command that is carried out once sent by the next `flush`: `then` is called with the reply
        or the error, at once or in the bus thread, which it must not block.

        Raises: TooManyRequests, if too many callers wait already; ManagerUnreachable, if it has been silent.
        """
        ...

    def flush(self) -> None:
        """Send what `ask_later` has collected."""
        ...

    def tell(self, ask: ApiAsk) -> None:
        """Send a command that is carried out once, without a reply; never blocks, never raises."""
        ...

    def status(self, timeout_s: float) -> Status:
        """The Manager's status.

        Raises: ManagerUnreachable, if it does not answer in this time.
        """
        ...

    def figures(self) -> "BusFigures":
        """The bus counters for the metrics."""
        ...


class BusFigures(Protocol):
    """Counters since the start, and the open requests."""

    @property
    def asked(self) -> int: ...
    @property
    def resent(self) -> int: ...
    @property
    def given_up(self) -> int: ...
    @property
    def unanswered(self) -> int: ...
