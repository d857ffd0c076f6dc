"""Requests that hold no thread: while the Manager works on them, or while they wait for a change.

Waiting in a thread costs two wake-ups and a switch of the interpreter's lock, which is more than all the work
for a short request. So the thread of the sockets itself begins requests with short, valid bodies, and
completes them when the Manager has answered: without the application, if there is nothing to refuse, because
the way through it takes longer than all the rest. A request that may take time, or is invalid, has a
thread of its own from the beginning (adr/0043). A request with `?wait=` begins in a thread and leaves it: it
runs again when what it waits for may have come (adr/0051).
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from msgspec import Struct

from api.http.framework.bodies import IN_MEMORY_BYTES
from api.session import Outcome

Environment = dict[str, object]
"""A request's environment (PEP 3333)."""
OUTCOME: Final = "spoon.outcome"
"""The key in a request's environment for the Manager's reply that has come already."""
RESUMED: Final = "spoon.resumed"
"""The key for what answers a request that was parked: a function of the response."""
MAX_BYTES: Final = IN_MEMORY_BYTES
"""The longest body that the thread of the sockets parses."""

Then = Callable[[Outcome], None]


class ShortRequest(Struct, frozen=True):
    """A request with a short body. Headers are named as in `api.http.framework.request_head.Head`."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class DirectResponse(Struct, frozen=True):
    """A response that is not made by the application."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Deferral(Protocol):
    """The requests that need no thread."""

    def begin(self, request: ShortRequest, then: Then) -> bool:
        """Send a request's command to the Manager. `then` is called with the outcome, at once or in another
        thread.

        False, if nothing was sent: the application is to handle the request.
        """
        ...

    def answer(self, outcome: Outcome) -> DirectResponse | None:
        """The response to what was begun; None: the application is to make it, from OUTCOME."""
        ...


class NoDeferral:
    """For applications without such requests."""

    def begin(self, request: ShortRequest, then: Then) -> bool:
        return False

    def answer(self, outcome: Outcome) -> DirectResponse | None:
        return None


class Wait(Protocol):
    """What a parked request waits for."""

    @property
    def until_s(self) -> float:
        """When the time is over, in monotonic seconds."""
        ...

    def call(self, resume: Callable[[], None]) -> None:
        """Have `resume` called once, by any thread, when the request is to run again."""
        ...

    def ring(self) -> None:
        """Have it run again now. Repeated calls have no effect."""
        ...

    def drop(self) -> None:
        """The request will never run again. Repeated calls have no effect."""
        ...


class Parked(BaseException):
    """Ends a thread's work on a request that is answered later.

    It passes through Falcon and waitress, which turn every Exception into a response.
    """

    def __init__(self, environment: Environment, wait: Wait) -> None:
        super().__init__()
        self.environment = environment
        """The environment in which it runs again: with RESUMED, in place of its responder."""
        self.wait = wait
