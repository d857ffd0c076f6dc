"""Requests that hold no thread while the Manager works on them.

Waiting in a thread costs two wake-ups and a switch of the interpreter's lock, which is more than all the work
for a short request. So the thread of the sockets itself begins requests with short, valid bodies, and the bus
thread completes them when the Manager has answered. A request that may take time, or is invalid, has a thread
of its own from the beginning (adr/0043).
"""

from collections.abc import Callable
from typing import Final

from api.http.framework.bodies import IN_MEMORY_BYTES
from api.http.framework.response_tasks import Environment
from api.session import Outcome

OUTCOME: Final = "spoon.outcome"
"""The key in a request's environment for the Manager's reply that has come already."""
MAX_BYTES: Final = IN_MEMORY_BYTES
"""The longest body that the thread of the sockets parses."""

Then = Callable[[Outcome], None]
Begin = Callable[[Environment, Then], bool]
"""Send a request's command to the Manager. `then` is called with the outcome, at once or in another thread.

False, if nothing was sent: the application is to handle the request.
"""


def never(environment: Environment, then: Then) -> bool:
    """For applications without such requests."""
    return False
