"""The parts of a form (RFC 7578) while it arrives, in pieces, without keeping a file in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from api.http.contract.errors import Malformed

MAX_BOUNDARY: Final = 70
MAX_TYPE: Final = 1_000
MAX_HEAD_BYTES: Final = 2 << 10
MAX_HEAD_LINES: Final = 4
"""Header lines of a part; RFC 7578 defines two."""
MAX_PARTS: Final = 256
MAX_PREAMBLE_BYTES: Final = 8 << 10


@dataclass(frozen=True, slots=True)
class PartBegan:
    """A field, or a file if it has a file name."""

    name: str
    file_name: str | None
    content_type: str | None = None
    """Without its parameters; most fields have none."""


@dataclass(frozen=True, slots=True)
class PartData:
    """More data of the part that began last."""

    data: bytes


Event = PartBegan | PartData


class FormReader:
    """Bytes go in, parts come out."""

    def __init__(self, content_type: str | None) -> None:
        """Raises: Malformed, if the content type is not a form's."""
        self._parser = PushMultipartParser(
            _boundary(content_type),
            max_header_size=MAX_HEAD_BYTES,
            max_header_count=MAX_HEAD_LINES,
            max_segment_count=MAX_PARTS,
        )
        self._preamble_bytes = 0
        self._has_begun = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events in the next bytes; all of them must be taken before the next call.

        Raises: Malformed, if the bytes are not a form, or exceed its limits.
        """
        try:
            for event in self._parser.parse(data) if data else ():
                if isinstance(event, MultipartSegment):
                    self._has_begun = True
                    yield _part_of(event)
                elif event is not None:
                    yield PartData(bytes(event))
        except MultipartError as error:
            raise Malformed(f"the form is malformed or exceeds a limit: {error}") from error
        if not self._has_begun:
            self._preamble_bytes += len(data)
            if self._preamble_bytes > MAX_PREAMBLE_BYTES:
                raise Malformed("the body must begin with the boundary of its Content-Type")

    def finish(self) -> None:
        """The form has ended. Raises: Malformed, if the last boundary is missing."""
        try:
            self._parser.close()
        except MultipartError as error:
            raise Malformed("the form is incomplete: its final boundary is missing") from error


def _boundary(content_type: str | None) -> bytes:
    given = content_type or ""
    kind, options = parse_options_header(given) if len(given) <= MAX_TYPE else ("", {})
    boundary: str = options.get("boundary", "")
    if kind != "multipart/form-data" or not 0 < len(boundary) <= MAX_BOUNDARY or "\n" in boundary:
        raise Malformed("the body must be a form: Content-Type: multipart/form-data with a boundary")
    return boundary.encode("latin-1", errors="replace")


def _part_of(segment: MultipartSegment) -> PartBegan:
    """Source: RFC 7578, section 4.2; names are UTF-8."""
    if not segment.name:
        raise Malformed("the form is malformed: a part has no name")
    if sum(len(name) + len(value) for name, value in segment.headerlist) > MAX_HEAD_BYTES:
        raise Malformed(f"the headers of a part must have at most {MAX_HEAD_BYTES} bytes")
    return PartBegan(segment.name, segment.filename, segment.content_type)
