"""Which part of a file a request wants (RFC 9110, section 14): one range of bytes, or the whole."""

import re
from dataclasses import dataclass
from typing import Final

from api.http.contract.errors import RangeNotSatisfiable

_ONE_RANGE: Final = re.compile(r"^bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})$")


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a file."""

    start: int
    length: int
    size_bytes: int
    """Of the whole file."""

    @property
    def is_whole(self) -> bool:
        return self.length == self.size_bytes

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size_bytes}"


def part_of(header: str | None, size_bytes: int) -> Part:
    """The wanted part. What is no single range of bytes is no reason to refuse: then it is the whole file.

    Raises: RangeNotSatisfiable, if the range begins behind the end.
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
