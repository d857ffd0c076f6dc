"""Requests that hold no thread: while the Manager works on them, while they wait for a change, and while they
are streams of events.

Waiting in a thread costs two wake-ups and a switch of the interpreter's lock, which is more than all the work
for a short request. So the thread of the sockets itself begins requests with short, valid bodies, and
completes them when the Manager has answered: without the application, if there is nothing to refuse, because
the way through it takes longer than all the rest. A request that may take time, or is invalid, has a
thread of its own from the beginning (adr/0043). A request with `?wait=` begins in a thread and leaves it: it
runs again when what it waits for may have come (adr/0051). So does a stream of events, whenever there may be
something to send (adr/0062).
"""

import threading
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from msgspec import Struct

from api.http.framework.bodies import IN_MEMORY_BYTES
from api.http.framework.thread_pools import Pool
from api.session import Outcome

Environment = dict[str, object]
"""A request's environment (PEP 3333)."""
OUTCOME: Final = "spoon.outcome"
"""The key in a request's environment for the Manager's reply that has come already."""
RESUMED: Final = "spoon.resumed"
"""The key for what answers a request that was parked: a function of the response."""
ROUTE: Final = "spoon.route"
"""The key for the template of the route that serves a request."""
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
        """Have a request's command sent to the Manager by the next `flush`. `then` is called with the
        outcome, at once or in another thread.

        False, if nothing is to be sent: the application is to handle the request.
        """
        ...

    def flush(self) -> None:
        """Send what was begun. What came together leaves together, because waking the thread that sends costs
        as much as a request."""
        ...

    def answer(self, outcome: Outcome) -> DirectResponse | None:
        """The response to what was begun; None: the application is to make it, from OUTCOME."""
        ...


class NoDeferral:
    """For applications without such requests."""

    def begin(self, request: ShortRequest, then: Then) -> bool:
        return False

    def flush(self) -> None:
        pass

    def answer(self, outcome: Outcome) -> DirectResponse | None:
        return None


class Bell:
    """Calls back once after it was rung, also if that was before there was anybody to call. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._resume: Callable[[], None] | None = None
        self._is_rung = self._is_stopped = False

    def listen(self) -> None:
        """Forget earlier rings. To be called before the look for what a ring announces."""
        self._is_rung = False

    def call(self, resume: Callable[[], None]) -> None:
        """Have `resume` called once: at the next ring, or at once if it has rung since `listen`."""
        with self._lock:
            self._resume = None if self._is_stopped else resume
            is_due = self._is_rung
        if is_due:
            self.ring()

    def ring(self) -> None:
        """Call back; repeated calls have no effect until `call`."""
        if self._is_rung and self._resume is None:
            return  # `call` will see it, or `listen` has yet to come, and the look after it
        with self._lock:
            self._is_rung = True
            resume, self._resume = self._resume, None
        if resume is not None:
            resume()

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped

    def stop(self) -> bool:
        """Call nobody any more. Returns: whether this was the first time."""
        with self._lock:
            was_stopped, self._is_stopped, self._resume = self._is_stopped, True, None
        return not was_stopped


class Wait(Protocol):
    """What a parked request waits for."""

    @property
    def until_s(self) -> float:
        """When the time is over, in monotonic seconds. Then the loop of the sockets rings."""
        ...

    @property
    def bell(self) -> Bell:
        """Rings when the request is to run again."""
        ...

    @property
    def pool(self) -> Pool:
        """Whose thread it needs then."""
        ...

    def drop(self) -> None:
        """The request will never run again. Repeated calls have no effect."""
        ...


class Part(Struct, frozen=True):
    """What a stream has to send now."""

    data: bytes
    """Empty: nothing, until its bell rings."""
    is_last: bool = False


class OpenStream(Wait, Protocol):
    """A response that goes on for as long as the client stays."""

    def take(self) -> Part:
        """The next part, which is short unless one event is long. Called by one thread at a time, and only
        when the client has taken the part before."""
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


class Streaming(BaseException):
    """Ends a thread's work on a response that has begun; the connection goes on with it."""

    def __init__(self, stream: OpenStream) -> None:
        super().__init__()
        self.stream = stream
