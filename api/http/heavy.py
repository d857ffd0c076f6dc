"""How many large bodies are in memory at once: the others wait on the disk, where waitress has put them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kernel.protocol.errors import TooManyRequests

LIGHT_BYTES: Final = 1 << 20
AT_ONCE: Final = 4
"""A body of 32 MiB takes up to five times its size: as bytes, as text, decoded, unpacked and on the bus."""
PATIENCE_S: Final = 10.0


class HeavyBodies:
    """Lets a few large bodies in at a time; a small one goes past."""

    def __init__(self, at_once: int = AT_ONCE, patience_s: float = PATIENCE_S) -> None:
        self._free = threading.BoundedSemaphore(at_once)
        self._patience_s = patience_s

    @contextmanager
    def room_for(self, length: int | None) -> Iterator[None]:
        """Room for a body of so many bytes, as long as the block runs.

        Raises: TooManyRequests, if there is none for so long.
        """
        if (length or 0) <= LIGHT_BYTES:
            yield
            return
        if not self._free.acquire(timeout=self._patience_s):
            raise TooManyRequests("too many jobs with pictures come in at once", retry_after_s=5.0)
        try:
            yield
        finally:
            self._free.release()
