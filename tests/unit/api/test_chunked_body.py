"""A body in chunks: whole however it is cut, and refused as soon as it is wrong."""

import pytest

from api.http.contract.errors import Malformed
from api.http.framework.chunked_body import FREE_CHUNKS, MAX_LINE_BYTES, ChunkReader

BODY = b'4\r\nspoo\r\nA;name="value"\r\nn is a spo\r\n02\r\non\r\n0\r\nTrailer: x\r\n\r\n'


class Sink:
    def __init__(self) -> None:
        self.data = bytearray()

    def append(self, data: bytes) -> None:
        self.data += data


def in_pieces(data: bytes, size: int) -> None:
    reader = ChunkReader(Sink())
    for at in range(0, len(data), size):
        reader.take(data[at : at + size])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1_000])
def test_a_body_is_whole_however_it_is_cut(size: int) -> None:
    sink, taken = Sink(), 0
    reader, data = ChunkReader(sink), BODY + b"GET /"
    for at in range(0, len(data), size):
        taken += reader.take(data[at : at + size])
        if reader.is_whole:
            break
    assert (bytes(sink.data), reader.is_whole, taken) == (b"spoon is a spoon", True, len(BODY))


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"\r\n",
        b"1\n",
        b"1\r\naXX",
        b"1\r\nab\r\n",
        b"1;\x00\r\n",
        b"1;a\rb\r\n",
        b"1" * 13 + b"\r\n",
        b"1;" + b"x" * MAX_LINE_BYTES,
        b"0\r\n" + b"a: b\r\n" * 33,
    ],
)
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    for size in (1, len(data)):
        with pytest.raises(Malformed):
            in_pieces(data + b"\r\n", size)


def test_many_chunks_must_not_be_tiny() -> None:
    with pytest.raises(Malformed):
        ChunkReader(Sink()).take(b"1\r\na\r\n" * (FREE_CHUNKS + 1))
    reader = ChunkReader(Sink())
    data = (b"40\r\n" + b"x" * 64 + b"\r\n") * (FREE_CHUNKS + 1)
    assert reader.take(data) == len(data)
