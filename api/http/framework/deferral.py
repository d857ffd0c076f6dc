"""Requests that hold no thread while the Manager works on them.

To wait in a thread costs two awakenings and the way of a thread back to the interpreter's lock, which is more
than all that is done with a short request. So the thread of the sockets itself begins what is plain and right
in a short body, and the thread of the bus ends it when the Manager has answered. Whatever may take time, or
is wrong, has a thread of its own from the beginning.
"""

from collections.abc import Callable
from typing import Final

from api.http.framework.bodies import IN_MEMORY_BYTES
from api.http.framework.response_tasks import Environment
from api.session import Outcome

OUTCOME: Final = "spoon.outcome"
"""Where the environment of a request has what the Manager has said to it already."""
MAX_BYTES: Final = IN_MEMORY_BYTES
"""The longest body that the thread of the sockets looks at."""

Then = Callable[[Outcome], None]
Begin = Callable[[Environment, Then], bool]
"""Ask the Manager for what a request wants. `then` hears what it says, at once or in another thread.

False, if nothing was asked: the application is to do all of it."""


def never(environment: Environment, then: Then) -> bool:
    """For applications without such requests."""
    return False
