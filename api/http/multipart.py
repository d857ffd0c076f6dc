"""Reading a form (RFC 7578) while it arrives, piece by piece, without ever holding a file in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from enum import Enum, auto
from typing import Final

from api.http.errors import Malformed

MAX_BOUNDARY: Final = 70
MAX_HEAD_BYTES: Final = 8 << 10
MAX_PARTS: Final = 256
_HEADERS: Final = ("content-disposition", "content-type")


@dataclass(frozen=True, slots=True)
class PartBegan:
    """A field, or a file if it has a file name."""

    name: str
    file_name: str | None
    content_type: str | None = None
    """As it was said; most fields say none."""


@dataclass(frozen=True, slots=True)
class PartData:
    """More of the part that began last."""

    data: bytes


Event = PartBegan | PartData


class _State(Enum):
    PREAMBLE = auto()
    AFTER_BOUNDARY = auto()
    HEAD = auto()
    BODY = auto()
    END = auto()


class FormReader:
    """A state machine: bytes go in, parts come out."""

    def __init__(self, content_type: str | None) -> None:
        """Raises: Malformed, if this is no form."""
        self._delimiter = b"\r\n--" + _boundary(content_type)
        self._state = _State.PREAMBLE
        self._rest = b"\r\n"
        """What is not known yet to be data or delimiter. The first delimiter may lack its line break."""
        self._parts = 0

    @property
    def is_whole(self) -> bool:
        """Has the last delimiter been seen?"""
        return self._state is _State.END

    def feed(self, data: bytes) -> Iterator[Event]:
        """What the next bytes bring.

        Raises: Malformed, if they cannot belong to a form.
        """
        self._rest += data
        while (step := self._step()) is not None:
            yield from step

    def _step(self) -> tuple[Event, ...] | None:
        """One step; None, if more bytes are needed for it."""
        match self._state:
            case _State.PREAMBLE:
                return self._skip_preamble()
            case _State.AFTER_BOUNDARY:
                return self._see_what_follows()
            case _State.HEAD:
                return self._read_head()
            case _State.BODY:
                return self._read_body()
            case _State.END:
                self._rest = b""
                return None

    def _skip_preamble(self) -> tuple[Event, ...] | None:
        before, found, rest = self._rest.partition(self._delimiter)
        if not found:
            if len(before) > MAX_HEAD_BYTES:
                raise Malformed("the body is no form: it does not begin with its boundary")
            return None
        self._rest, self._state = rest, _State.AFTER_BOUNDARY
        return ()

    def _see_what_follows(self) -> tuple[Event, ...] | None:
        if len(self._rest) < 2:
            return None
        if self._rest.startswith(b"--"):
            self._state = _State.END
            return ()
        line, found, rest = self._rest.partition(b"\r\n")
        if line.strip(b" \t") or (not found and len(line) > MAX_HEAD_BYTES):
            raise Malformed("the form is damaged: something follows a boundary")
        if not found:
            return None
        self._rest, self._state = rest, _State.HEAD
        return ()

    def _read_head(self) -> tuple[Event, ...] | None:
        head, found, rest = self._rest.partition(b"\r\n\r\n")
        if not found:
            if len(head) > MAX_HEAD_BYTES:
                raise Malformed("the form is damaged: the head of a part is too long")
            return None
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise Malformed(f"the form has more than {MAX_PARTS} parts")
        self._rest, self._state = rest, _State.BODY
        return (_part_of(head),)

    def _read_body(self) -> tuple[Event, ...] | None:
        data, found, rest = self._rest.partition(self._delimiter)
        if found:
            self._rest, self._state = rest, _State.AFTER_BOUNDARY
            return (PartData(data),) if data else ()
        # The end of what is here may be the beginning of the delimiter.
        sure = len(self._rest) - len(self._delimiter) + 1
        if sure <= 0:
            return None
        data, self._rest = self._rest[:sure], self._rest[sure:]
        return (PartData(data),)


def _boundary(content_type: str | None) -> bytes:
    head = Message()
    head["Content-Type"] = content_type or ""
    boundary = head.get_param("boundary")
    is_form = head.get_content_type() == "multipart/form-data"
    if not is_form or not isinstance(boundary, str) or not 0 < len(boundary) <= MAX_BOUNDARY:
        raise Malformed("the body must be a form: Content-Type: multipart/form-data with a boundary")
    return boundary.encode("latin-1", errors="replace")


def _part_of(head: bytes) -> PartBegan:
    """Source: RFC 7578, section 4.2; names are UTF-8, and `filename*` is not used in forms."""
    found = Message()
    for line in head.decode("utf-8", errors="replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() in _HEADERS and name.strip() not in found:
            found[name.strip()] = value.strip()
    field = found.get_param("name", header="Content-Disposition")
    file_name = found.get_param("filename", header="Content-Disposition")
    if found.get_content_disposition() != "form-data" or not isinstance(field, str) or not field:
        raise Malformed("the form is damaged: a part has no name")
    return PartBegan(field, file_name if isinstance(file_name, str) else None, found["Content-Type"])
