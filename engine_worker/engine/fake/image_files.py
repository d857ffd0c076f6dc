"""PNG and JPEG files without an image library.

A PNG file has two colors in a pattern that is derived from a hash; a JPEG file is one gray block of 8 x 8
pixels with a comment.
"""

import hashlib
import struct
import zlib
from base64 import b64decode
from typing import Final

PNG_MIME: Final = "image/png"

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_BITS_PER_PIXEL: Final = 1
_PALETTE: Final = 3
_TILE_ROWS: Final = 16
_JPEG_START: Final = b"\xff\xd8"
_JPEG_COMMENT: Final = b"\xff\xfe"
_LENGTH_BYTES: Final = 2
_GRAY_JPEG: Final = b64decode(
    "/+AAEEpGSUYAAQEAAAEAAQAA/9sAQwAQCwwODAoQDg0OEhEQExgoGhgWFhgxIyUdKDozPTw5Mzg3QEhcTkBEV0U3OFBtUVdf"
    "YmdoZz5NcXlwZHhcZWdj/8AACwgACAAIAQERAP/EABQAAQAAAAAAAAAAAAAAAAAAAAD/xAAUEAEAAAAAAAAAAAAAAAAAAAAA"
    "/9oACAEBAAA/AD//2Q=="
)
"""The file after its comment: quantization table, size, two Huffman tables of one code each, one block."""


def draw_png(content: str, width_px: int, height_px: int) -> bytes:
    """A PNG file of this size. The same content gives the same bytes.

    Source: PNG specification, third edition (W3C), sections 5 and 11.
    """
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
    size = struct.pack("!IIBBBBB", width_px, height_px, _BITS_PER_PIXEL, _PALETTE, 0, 0, 0)
    pixels = zlib.compress(_rows(digest, width_px, height_px), level=1)
    chunks = ((b"IHDR", size), (b"PLTE", digest[:6]), (b"IDAT", pixels), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _rows(digest: bytes, width_px: int, height_px: int) -> bytes:
    """Rows of packed bits, each after a byte 0 for "no filter"."""
    row_bytes = (width_px + 7) // 8
    tile = [b"\0" + bytes([pattern]) * row_bytes for pattern in digest[-_TILE_ROWS:]]
    repeats = -(-height_px // _TILE_ROWS)
    return b"".join(tile * repeats)[: (row_bytes + 1) * height_px]


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))


def draw_jpeg(text: str) -> bytes:
    """A JPEG file with this comment. The same text gives the same bytes.

    Source: ITU-T T.81, annex B.
    """
    comment = text.encode()
    return (
        _JPEG_START + _JPEG_COMMENT + (len(comment) + _LENGTH_BYTES).to_bytes(2, "big") + comment + _GRAY_JPEG
    )
