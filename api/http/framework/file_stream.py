"""An open image file on its way to a client, and whether all of it has gone out."""

import io
from collections.abc import Callable
from pathlib import Path

from api.http.framework.ranges import Part


class FileStream(io.FileIO):
    """A part of a file, read from its start to its end.

    waitress reads a piece, sends it, and only then moves on; it closes the file when the last byte has
    been taken by the socket, or the client is gone. So the position at the closing is what was sent.
    """

    def __init__(self, file: Path, part: Part, finished: Callable[[bool], None]) -> None:
        """`finished` is told once, at the closing, whether the part went out to its last byte."""
        self._finished: Callable[[bool], None] | None = None
        super().__init__(file, "rb")
        self._end = part.start + part.length
        self.seek(part.start)
        self._finished = finished

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes, never beyond the part."""
        left = max(0, self._end - self.tell())
        wanted = left if size is None or size < 0 else min(size, left)
        return super().read(wanted) or b""

    def close(self) -> None:
        finished, self._finished = self._finished, None
        sent_all = finished is not None and self.tell() >= self._end
        super().close()
        if finished is not None:
            finished(sent_all)
