"""Bytes that are made only as the client takes them, sent without a thread between the pieces."""

import threading
from collections.abc import Callable, Generator, Iterator
from typing import Final

from api.http.framework.deferral import Bell, Part, Streaming
from api.http.framework.thread_pools import Pool

Pieces = Generator[bytes, None, None]


class PieceStream:
    """The body of a response. The next piece is asked for when the client has taken the one before, so what
    follows a `yield` in the generator happens when its piece has left
    (`api.http.framework.deferral.OpenStream`).

    The first piece is sent by the thread of the request, for the head needs one.
    """

    pool: Final = Pool.ASK
    until_s: Final = float("inf")

    def __init__(self, pieces: Pieces, leave: Callable[[], None]) -> None:
        """`leave` is called once, when nothing more will be sent."""
        self.bell = Bell()
        self._pieces = pieces
        self._leave = leave
        self._lock = threading.Lock()
        """Held by whoever runs the generator."""
        self._has_begun = self._is_handed_over = self._is_over = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """The first piece. Raises: Streaming, after it, unless it was the last."""
        if self._is_over:
            raise StopIteration
        if self._has_begun:
            self._is_handed_over = True
            raise Streaming(self)
        self._has_begun = True
        return self.take().data

    def take(self) -> Part:
        """The next piece."""
        self.bell.listen()
        with self._lock:
            piece = next(self._pieces, None)
        if piece is None:
            self._is_over = True
            return Part(b"", is_last=True)
        if self.bell.is_stopped:
            self._end_pieces()
        self.bell.ring()  # it goes on as soon as this piece is taken
        return Part(piece)

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
