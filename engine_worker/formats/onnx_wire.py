"""Reads protocol buffers field by field, without reading fields that are not needed.

Source: https://protobuf.dev/programming-guides/encoding
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from kernel.protocol.errors import ModelUnreadable

MAX_TEXT_BYTES: Final = 1 << 20
_MAX_VARINT_BYTES: Final = 10
_WINDOW_BYTES: Final = 64 << 10


class Wire(IntEnum):
    """The encodings of a field's value."""

    VARINT = 0
    FIXED64 = 1
    BYTES = 2
    FIXED32 = 5


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `value` is set for a varint; for the others, start and end locate the value."""

    number: int
    wire: Wire
    start: int
    end: int
    value: int = 0


class Message:
    """A range of an open file that contains one message. Nothing outside of it is read."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self._descriptor = descriptor
        self._start = start
        self._end = end
        self._window = b""
        self._window_start = 0

    def fields(self) -> Iterator[Field]:
        """The fields, in order.

        Raises: ModelUnreadable, if they do not fit in the message.
        """
        position = self._start
        while position < self._end:
            key, position = self._varint(position)
            field = self._field(key, position)
            yield field
            position = field.end

    def inner(self, field: Field) -> "Message":
        """The message that is the value of a field."""
        return Message(self._descriptor, field.start, field.end)

    def text(self, field: Field) -> str:
        """The text that is the value of a field, truncated if it is longer than any name."""
        size = min(field.end - field.start, MAX_TEXT_BYTES)
        return os.pread(self._descriptor, size, field.start).decode("utf-8", errors="replace")

    def numbers(self, field: Field) -> list[int]:
        """The numbers of a repeated field: one, or several packed ones."""
        if field.wire is Wire.VARINT:
            return [field.value]
        found = []
        packed, position = self.inner(field), field.start
        while position < field.end:
            number, position = packed._varint(position)
            found.append(number)
        return found

    def _field(self, key: int, position: int) -> Field:
        number, kind = key >> 3, key & 7
        try:
            wire = Wire(kind)
        except ValueError:
            raise _damaged() from None
        if number == 0:
            raise _damaged()
        value, start = 0, position
        if wire is Wire.VARINT:
            value, end = self._varint(position)
        elif wire is Wire.BYTES:
            size, start = self._varint(position)
            end = start + size
        else:
            end = position + (8 if wire is Wire.FIXED64 else 4)
        if end > self._end:
            raise _damaged()
        return Field(number, wire, start, end, value)

    def _varint(self, position: int) -> tuple[int, int]:
        """The number at a position, and the position after it."""
        number = 0
        for count in range(_MAX_VARINT_BYTES):
            byte = self._byte(position + count)
            number |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                return number, position + count + 1
        raise _damaged()

    def _byte(self, position: int) -> int:
        if position >= self._end:
            raise _damaged()
        offset = position - self._window_start
        if not 0 <= offset < len(self._window):
            size = min(_WINDOW_BYTES, self._end - position)
            self._window, self._window_start, offset = os.pread(self._descriptor, size, position), position, 0
        if offset >= len(self._window):
            raise _damaged()
        return self._window[offset]


def _damaged() -> ModelUnreadable:
    return ModelUnreadable("this is not an ONNX file, or it is damaged or truncated")
