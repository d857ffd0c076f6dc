"""A chunked body (RFC 9112 7.1), decoded in linear time, however its bytes are split."""

import re
from enum import Enum, auto
from typing import Final, Protocol

from api.http.contract.errors import Malformed
from kernel.protocol.errors import SpoonError

MAX_LINE_BYTES: Final = 1 << 10
MAX_TRAILER_LINES: Final = 32
FREE_CHUNKS: Final = 4_096
"""Chunks that may be of any size."""
FEWEST_BYTES: Final = 64
"""The average size that chunks beyond FREE_CHUNKS must have, because each chunk costs the same."""

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[\x20-\x7e\t\x80-\xff]*)?")


class Sink(Protocol):
    """Takes the bytes of a body."""

    def append(self, data: bytes, /) -> None: ...


class _State(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    END = auto()


class ChunkReader:
    """Decodes chunks, and passes their bytes to a sink."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._state = _State.SIZE
        self._line = bytearray()
        self._left = self._chunks = self._bytes = self._trailer_lines = 0

    @property
    def is_whole(self) -> bool:
        return self._state is _State.END

    def take(self, data: bytes) -> int:
        """Take more bytes. Returns: how many of them belong to the body. Raises: Malformed."""
        at = 0
        while at < len(data) and self._state is not _State.END:
            at = self._take_data(data, at) if self._state is _State.DATA else self._take_line(data, at)
        return at

    def _take_data(self, data: bytes, at: int) -> int:
        piece = data[at : at + self._left]
        self._sink.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._state = _State.DATA_END
        return at + len(piece)

    def _take_line(self, data: bytes, at: int) -> int:
        room = MAX_LINE_BYTES - len(self._line)
        end = data.find(b"\n", at, at + room) + 1
        self._line += data[at : end or at + room]
        if not end:
            if len(self._line) >= MAX_LINE_BYTES:
                raise Malformed(f"a line between chunks must have at most {MAX_LINE_BYTES} bytes")
            return len(data)
        line = bytes(self._line)
        self._line.clear()
        if not line.endswith(b"\r\n"):
            raise Malformed("a line between chunks must end with CR and LF")
        self._read_line(line[:-2])
        return end

    def _read_line(self, line: bytes) -> None:
        match self._state:
            case _State.SIZE:
                self._begin_chunk(line)
            case _State.DATA_END if not line:
                self._state = _State.SIZE
            case _State.DATA_END:
                raise Malformed("a chunk is longer than its declared size")
            case _:
                self._read_trailer(line)

    def _begin_chunk(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        if found is None:
            raise Malformed("a chunk must begin with its size in hexadecimal")
        self._left = int(found[1], 16)
        self._chunks += 1
        self._bytes += self._left
        if self._chunks > FREE_CHUNKS and self._bytes < self._chunks * FEWEST_BYTES:
            raise Malformed(
                f"beyond {FREE_CHUNKS} chunks, the average chunk must have at least {FEWEST_BYTES} bytes"
            )
        self._state = _State.DATA if self._left else _State.TRAILER

    def _read_trailer(self, line: bytes) -> None:
        """Skip trailers, as RFC 9112 7.1.2 allows."""
        self._trailer_lines += 1
        if not line:
            self._state = _State.END
        elif self._trailer_lines > MAX_TRAILER_LINES:
            raise Malformed(f"a body must have at most {MAX_TRAILER_LINES} trailer fields")


class ChunkedBody:
    """A chunked body with the interface that waitress expects: its bytes go to `buf`."""

    def __init__(self, buf: "Buffer") -> None:
        self.buf = buf
        self.failure: SpoonError | None = None
        self._reader = ChunkReader(buf)

    @property
    def completed(self) -> bool:
        return self._reader.is_whole or self.failure is not None

    error = None
    """waitress expects its own kind of error here; ours is `failure`."""

    def __len__(self) -> int:
        return len(self.buf)

    def received(self, data: bytes) -> int:
        try:
            return self._reader.take(data)
        except Malformed as error:
            self.failure = error
            return len(data)

    def getfile(self) -> object:
        return self.buf.getfile()

    def getbuf(self) -> "Buffer":
        return self.buf


class Buffer(Protocol):
    """The buffer in which waitress keeps a body."""

    def append(self, data: bytes, /) -> None: ...
    def getfile(self) -> object: ...
    def close(self) -> None: ...
    def __len__(self) -> int: ...
