"""Previews without an image library: one grey JPEG of 8 x 8 pixels, which bears a text of its own."""

from base64 import b64decode
from typing import Final

_START: Final = b"\xff\xd8"
_COMMENT: Final = b"\xff\xfe"
_LENGTH_BYTES: Final = 2
_GREY: Final = b64decode(
    "/+AAEEpGSUYAAQEAAAEAAQAA/9sAQwAQCwwODAoQDg0OEhEQExgoGhgWFhgxIyUdKDozPTw5Mzg3QEhcTkBEV0U3OFBtUVdf"
    "YmdoZz5NcXlwZHhcZWdj/8AACwgACAAIAQERAP/EABQAAQAAAAAAAAAAAAAAAAAAAAD/xAAUEAEAAAAAAAAAAAAAAAAAAAAA"
    "/9oACAEBAAA/AD//2Q=="
)
"""All of the file but its start: quantization table, size, two Huffman tables of one code each, one block."""


def draw(text: str) -> bytes:
    """A JPEG file with this comment. The same text gives the same bytes.

    Source: ITU-T T.81, annex B.
    """
    comment = text.encode()
    return _START + _COMMENT + (len(comment) + _LENGTH_BYTES).to_bytes(2, "big") + comment + _GREY
