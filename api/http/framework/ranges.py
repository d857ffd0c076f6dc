"""Parses a Range header (RFC 9110, section 14), and streams that part of a file."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from api.http.contract.errors import RangeNotSatisfiable

_ONE_RANGE: Final = re.compile(r"^bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})$")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file."""

    start: int
    length: int
    size_bytes: int
    """The size of the whole file."""

    @property
    def is_whole(self) -> bool:
        return self.length == self.size_bytes

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size_bytes}"


def part_of(header: str | None, size_bytes: int) -> Part:
    """The requested part. A header that is not a single range of bytes is ignored: then it is the whole file.

    Raises: RangeNotSatisfiable, if the range begins beyond the end.
    """
    found = _ONE_RANGE.match((header or "").replace(" ", ""))
    if found is None or found["first"] == found["last"] == "":
        return Part(0, size_bytes, size_bytes)
    if found["first"] == "":
        start, end = max(0, size_bytes - int(found["last"])), size_bytes
    else:
        start = int(found["first"])
        end = min(size_bytes, int(found["last"]) + 1) if found["last"] else size_bytes
        if found["last"] and int(found["last"]) < start:
            return Part(0, size_bytes, size_bytes)
    if start >= size_bytes:
        raise RangeNotSatisfiable(f"the file has only {size_bytes} bytes")
    return Part(start, end - start, size_bytes)


class FileStream(io.FileIO):
    """A part of a file, read from its start to its end.

    waitress reads a piece, sends it, and only then reads on; it closes the file when the socket has taken the
    last byte, or the client is gone. So the position at `close` is the number of bytes sent.
    """

    def __init__(self, file: Path, part: Part, finished: Callable[[bool], None]) -> None:
        """`finished` is called once, at `close`, with whether the part was sent completely."""
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
