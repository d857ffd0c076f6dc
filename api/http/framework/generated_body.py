"""The body of a response that a generator makes, sent without a thread between its parts."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator

from api.http.framework.deferral import Bell, Part, Streaming
from api.http.framework.thread_pools import Pool

Pieces = Generator[bytes, None, None]


class GeneratedBody(ABC):
    """Its first part is sent by the thread of the request, for the head needs one.

    From then on the connection asks for parts (`api.http.framework.deferral.OpenStream`).
    """

    until_s: float

    def __init__(self, pieces: Pieces, leave: Callable[[], None], pool: Pool, bell: Bell) -> None:
        """`leave` is called once, when nothing more will be sent; `bell` rings when more is to be sent."""
        self.pool = pool
        self.bell = bell
        self._pieces = pieces
        self._leave = leave
        self._lock = threading.Lock()
        """Held by whoever runs the generator."""
        self._has_begun = self._is_over = self._is_handed_over = False

    @abstractmethod
    def _next_part(self) -> Part:
        """What is to be sent now, out of the generator; sets `_is_over` with the last. The lock is held."""

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """The first part. Raises: Streaming, after it, unless it was the last."""
        if self._is_over:
            raise StopIteration
        if self._has_begun:
            self._is_handed_over = True
            raise Streaming(self)
        self._has_begun = True
        return self.take().data

    def take(self) -> Part:
        """The next part."""
        self.bell.listen()
        with self._lock:
            part = self._next_part()
        if self.bell.is_stopped:
            self._end_pieces()
        return part

    def close(self) -> None:
        """Called when the thread of the request leaves it. If a connection goes on with it, it stays open."""
        if not self._is_handed_over:
            self.drop()

    def drop(self) -> None:
        """The client is gone, or has all; a repeated call has no effect."""
        if self.bell.stop():
            self._leave()
            self._end_pieces()

    def _end_pieces(self) -> None:
        """Close the generator, unless a thread is in it; then that one does so."""
        if self._lock.acquire(blocking=False):
            try:
                self._pieces.close()
            finally:
                self._lock.release()
